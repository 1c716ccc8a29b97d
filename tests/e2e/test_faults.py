"""What a user gets wrong about places and keys: one line each, the right exit code, before any study is read."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lvray.shards import storage
from tests.chaos import processes
from tests.weed import READER, WRITER, Weed, free_ports

Lvray = Callable[..., Any]


@pytest.fixture
def src(cohort: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    for path in cohort.good[:3]:
        shutil.copy2(path, folder)
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small file system here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def one_line(said: Any, code: int, text: str) -> None:
    assert (said.code, said.out) == (code, "")
    lines = [line for line in said.err.splitlines() if not line.startswith("tensorize: ")]
    assert len(lines) == 1, said.err
    assert lines[0].startswith("lvray: ")
    assert text in lines[0]


@pytest.mark.parametrize(("change", "code", "text"), [
    ({"AWS_ENDPOINT_URL": "nobody"}, 4, "check AWS_ENDPOINT_URL"),
    ({"AWS_SECRET_ACCESS_KEY": "wrong"}, 4, "check AWS_SECRET_ACCESS_KEY"),
    ({"AWS_ACCESS_KEY_ID": "wrong"}, 4, "check AWS_ACCESS_KEY_ID"),
    (dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), READER, strict=True)), 4, "write DST"),
])
def test_a_store_that_does_not_let_us_in(src: Path, lvray: Lvray, s3: str, monkeypatch: pytest.MonkeyPatch, cohort: Any,
                                         change: dict[str, str], code: int, text: str) -> None:
    for name, value in change.items():
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_ports(1)[0]}" if value == "nobody" else value)
    one_line(lvray("tensorize", src, f"{s3}/shards", "--key", cohort.key), code, text)


def test_a_bucket_that_is_not_there(src: Path, lvray: Lvray, s3: str, weed: Weed, cohort: Any) -> None:
    one_line(lvray("tensorize", src, "s3://nobodys/shards", "--key", cohort.key), 4, "bucket")
    one_line(lvray("tensorize", "s3://nobodys/ukb", src.parent / "shards", "--key", cohort.key), 4, "bucket")


def test_an_object_store_needs_a_key_of_ones_own(src: Path, lvray: Lvray, s3: str,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LVRAY_KEY", raising=False)
    one_line(lvray("tensorize", src, f"{s3}/shards"), 2, "give --key FILE or set LVRAY_KEY")


@pytest.mark.parametrize(("dst", "text"), [("/proc/lvray", "write DST"), ("src/shards", "inside SRC"),
                                           ("file/shards", "write DST")])
def test_a_destination_that_cannot_be(src: Path, lvray: Lvray, cohort: Any, tmp_path: Path, dst: str,
                                      text: str) -> None:
    (tmp_path / "file").touch()
    one_line(lvray("tensorize", src, tmp_path / dst, "--key", cohort.key), 2 if "inside" in text else 4, text)


def test_a_disk_that_fills_up(src: Path, lvray: Lvray, cohort: Any, small_disk: Path, ray_cluster: None) -> None:
    one_line(lvray("tensorize", src, small_disk / "shards", "--key", cohort.key), 4, "No space left on device")


@pytest.mark.parametrize("kind", ["empty", "absent", "of notes", "in a store"])
def test_a_source_without_studies(lvray: Lvray, cohort: Any, tmp_path: Path, s3: str, kind: str) -> None:
    src: Path | str = tmp_path / "src"
    if kind in ("empty", "of notes"):
        (tmp_path / "src").mkdir()
    if kind == "of notes":
        (tmp_path / "src" / "note.txt").write_text("no study")
    if kind == "in a store":
        src = f"{s3}/ukb"
        storage.write_atomic(f"{src}/note.txt", b"no study", "it")
    said = lvray("tensorize", src, tmp_path / "shards", "--key", cohort.key)
    absent = kind == "absent"
    one_line(said, 4 if absent else 2, "No such file" if absent else "SRC holds no studies")
    assert not (tmp_path / "shards").exists()


def test_from_store_to_store(src: Path, lvray: Lvray, s3: str, cohort: Any, tmp_path: Path) -> None:
    for path in src.iterdir():
        storage.write_atomic(f"{s3}/ukb/{path.name}", path.read_bytes(), "a study")
    command = processes.start("tensorize", f"{s3}/ukb", f"{s3}/shards", "--key", cohort.key, "--json")
    out, err = command.communicate()
    assert json.loads(out)["rows"] == 3
    assert WRITER[1] not in err
    assert lvray("shards", "verify", f"{s3}/shards").code == 0
    (tmp_path / "other").write_text("another key for tests, also long")
    said = lvray("tensorize", f"{s3}/ukb", f"{s3}/shards", "--key", tmp_path / "other")
    one_line(said, 2, "was made with the key")


def test_more_refused_than_asked_for(src: Path, lvray: Lvray, cohort: Any, tmp_path: Path, ray_cluster: None) -> None:
    (src / "9111111_20209_2_0.zip").write_bytes(b"no zip")
    few = lvray("tensorize", src, tmp_path / "shards", "--key", cohort.key, "--max-rejects", "0.3", "--json")
    many = lvray("tensorize", src, tmp_path / "shards", "--key", cohort.key, "--max-rejects", "0.2", "--json")
    assert (few.code, many.code) == (0, 3)
    assert few.objects()[0]["refused"] == many.objects()[0]["refused"] == 1
    assert "1 of 4 studies refused, more than --max-rejects 0.2" in many.err
