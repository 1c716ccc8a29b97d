from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from lvray.errors import EnvironmentFault, UseError
from lvray.shards import storage


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_write_read_list(tmp_path: Path, prefix: str) -> None:
    root = f"{prefix}{tmp_path}"
    storage.write_atomic(f"{root}/a/b.bin", b"one", "b")
    storage.write_atomic(f"{root}/a/b.bin", b"two", "b")
    storage.write_atomic(f"{root}/a/B.bin", b"", "B")
    assert storage.read_bytes(storage.join(root + "/", "a/b.bin"), "b") == b"two"
    assert [e[:3] for e in storage.list_entries(f"{root}/a", "a")] == [("B.bin", False, 0), ("b.bin", False, 3)]
    assert storage.list_entries(root, "the root") == [storage.Entry("a", True, 0, "")]
    assert storage.exists(f"{root}/a/b.bin", "b")
    assert not storage.exists(f"{root}/c", "c")
    assert storage.sha256(f"{root}/a/b.bin", "b") == hashlib.sha256(b"two").hexdigest()
    fs, path = storage.pyarrow_filesystem(f"{root}/a/b.bin")
    assert fs.open_input_file(path).readall() == b"two"


def test_of_many_writers_one_wins(tmp_path: Path) -> None:
    uri = str(tmp_path / "manifest.json")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: storage.put_if_absent(uri, f"{i}".encode(), "it"), range(40)))
    assert won.count(True) == 1
    assert storage.read_bytes(uri, "it") == str(won.index(True)).encode()
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.json"]


WRITES: list[Callable[[str, bytes, str], object]] = [storage.write_atomic, storage.write_checked]


@pytest.mark.parametrize("write", WRITES)
def test_a_failed_write_leaves_the_old_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                             write: Callable[[str, bytes, str], object]) -> None:
    uri = str(tmp_path / "x")
    write(uri, b"old", "x")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(EnvironmentFault, match=r"^cannot write x: No space left on device$"):
        write(uri, b"new", "x")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_what_comes_back_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_checked(str(tmp_path / "shard"), pa.py_buffer(b"old"), "a shard")
    monkeypatch.setattr("os.fsync", lambda number: os.pwrite(number, b"rot", 0))
    with pytest.raises(EnvironmentFault, match="cannot write a shard: other bytes come back"):
        storage.write_checked(str(tmp_path / "shard"), b"new", "a shard")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_a_file_is_read_and_sought_as_any_other(tmp_path: Path) -> None:
    data = bytes(range(200))
    (tmp_path / "x").write_bytes(data)
    with storage.open_file(str(tmp_path / "x"), "x") as file:
        other = io.BytesIO(data)
        for offset, whence in ((150, 0), (10, 1), (-20, 2), (0, 2), (300, 0), (-250, 1)):
            assert file.seek(offset, whence) == other.seek(offset, whence) == file.tell()
            assert file.read(60) == other.read(60)
        with pytest.raises(ValueError, match="ahead of"):
            file.seek(-1)
        assert (file.size, file.whole().to_pybytes()) == (200, data)


def test_tree_version(tmp_path: Path) -> None:
    """Names, sizes and times of modification, of every file."""
    (tmp_path / "more").mkdir()
    seen = set()
    for name, data, time in (("1.dcm", b"one", 1), ("1.dcm", b"two", 2), ("1.dcm", b"three", 2), ("more/2.dcm", b"", 1),
                             ("more/3.dcm", b"", 1)):
        (tmp_path / name).write_bytes(data)
        os.utime(tmp_path / name, ns=(time, time))
        seen.add(storage.tree_version(str(tmp_path)))
    assert storage.tree_version(f"file://{tmp_path}/") in seen
    seen.add(storage.tree_version(str(tmp_path / "1.dcm")))
    assert len(seen) == 6


def test_a_link_to_nothing_is_listed(tmp_path: Path) -> None:
    (tmp_path / "study.zip").symlink_to(tmp_path / "gone")
    assert [e.name for e in storage.list_entries(str(tmp_path), "SRC")] == ["study.zip"]


def test_delete_tree(tmp_path: Path) -> None:
    for name in ("work/1/a", "work/b", "workshop/c"):
        storage.write_atomic(str(tmp_path / name), b"x", name)
    storage.delete_tree(str(tmp_path / "work"), "the parts")
    storage.delete_tree(str(tmp_path / "work"), "the parts")
    assert [e.name for e in storage.list_tree(str(tmp_path), "it")] == ["workshop/c"]
    with pytest.raises(ValueError, match="whole"):
        storage.delete_tree("file:///", "it")


def test_faults_name_no_path(tmp_path: Path) -> None:
    secret = tmp_path / "1234567_20209_2_0.zip"
    assert storage.list_entries(str(secret), "study 3", missing_ok=True) == []
    for doing in (lambda: storage.read_bytes(str(secret), "study 3"),
                  lambda: storage.list_entries(str(secret), "study 3"),
                  lambda: storage.list_tree(str(secret), "study 3"),
                  lambda: storage.preflight(str(secret), write=False, what="study 3")):
        with pytest.raises(EnvironmentFault, match="study 3: No such file") as caught:
            doing()
        assert "1234567" not in str(caught.value)
        assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_preflight(tmp_path: Path) -> None:
    storage.preflight(str(tmp_path / "new" / "folder"), write=True, what="DST")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").touch()
    for where in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(EnvironmentFault, match=r"^cannot write DST: (File exists|Not a directory)$"):
            storage.preflight(str(where), write=True, what="DST")


@pytest.mark.skipif(not os.path.isdir("/sys/kernel"), reason="no folder that nobody may write to")
def test_preflight_of_a_read_only_place() -> None:
    with pytest.raises(EnvironmentFault, match=r"^cannot write DST: (Permission denied|Operation not|Read-only)"):
        storage.preflight("/sys/kernel/lvray", write=True, what="DST")


def test_other_schemes_are_refused() -> None:
    with pytest.raises(UseError, match="'gs'"):
        storage.read_bytes("gs://bucket/x", "x")


def test_a_dead_endpoint_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "k",
                        "AWS_SECRET_ACCESS_KEY": "s"}.items():
        monkeypatch.setenv(name, value)
    for write in (False, True):
        with pytest.raises(EnvironmentFault, match="EndpointConnectionError; no S3 answers there: check AWS_E"):
            storage.preflight("s3://bucket/data", write=write, what="DST")
