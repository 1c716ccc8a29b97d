from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
    assert storage.list_entries(f"{root}/a", "a") == [("B.bin", False, 0), ("b.bin", False, 3)]
    assert storage.list_entries(root, "the root") == [("a", True, 0)]
    assert storage.exists(f"{root}/a/b.bin", "b")
    assert not storage.exists(f"{root}/c", "c")
    fs, path = storage.pyarrow_filesystem(f"{root}/a/b.bin")
    assert fs.open_input_file(path).readall() == b"two"


def test_of_many_writers_one_wins(tmp_path: Path) -> None:
    uri = str(tmp_path / "manifest.json")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: storage.put_if_absent(uri, f"{i}".encode(), "it"), range(40)))
    assert won.count(True) == 1
    assert storage.read_bytes(uri, "it") == str(won.index(True)).encode()
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.json"]


def test_a_failed_write_leaves_the_old_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = str(tmp_path / "x")
    storage.write_atomic(uri, b"old", "x")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(EnvironmentFault, match=r"^cannot write x: No space left on device$"):
        storage.write_atomic(uri, b"new", "x")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_faults_name_no_path(tmp_path: Path) -> None:
    secret = tmp_path / "1234567_20209_2_0.zip"
    for doing in (lambda: storage.read_bytes(str(secret), "study 3"),
                  lambda: storage.list_entries(str(secret), "study 3"),
                  lambda: storage.preflight(str(secret), write=False, what="study 3")):
        with pytest.raises(EnvironmentFault, match="study 3: No such file") as caught:
            doing()
        assert "1234567" not in str(caught.value)


def test_preflight(tmp_path: Path) -> None:
    storage.preflight(str(tmp_path / "new" / "folder"), write=True, what="DST")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match="cannot write DST"):
        storage.preflight(str(tmp_path / "file"), write=True, what="DST")


def test_other_schemes_are_refused() -> None:
    with pytest.raises(UseError, match="'gs'"):
        storage.read_bytes("gs://bucket/x", "x")


def test_a_dead_endpoint_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "k",
                        "AWS_SECRET_ACCESS_KEY": "s"}.items():
        monkeypatch.setenv(name, value)
    for write in (False, True):
        with pytest.raises(EnvironmentFault, match="EndpointConnectionError; check AWS_ENDPOINT_URL"):
            storage.preflight("s3://bucket/data", write=write, what="DST")
