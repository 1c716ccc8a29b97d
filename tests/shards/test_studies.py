"""A study is the same wherever it lies and however it is fetched."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest

from lvray.errors import EnvironmentFault, StudyRefused
from lvray.shards import storage, studies
from lvray.shards.listing import Source
from lvray.shards.studies import open_study
from tests.faulty import faulty
from tests.weed import Weed

FILES = {f"{i:02}.dcm": bytes([i]) * 50_000 for i in range(20)} | {"manifest.csv": b"a,b"}


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name in sorted(FILES, key=lambda n: hashlib.sha256(n.encode()).digest()):
            file.writestr(zipfile.ZipInfo(name), FILES[name])
    return out.getvalue()


def put(root: str, kind: Literal["zip", "folder"]) -> Source:
    if kind == "zip":
        storage.write_atomic(f"{root}/study.zip", zipped(), "it")
    else:
        for name, data in FILES.items():
            storage.write_atomic(f"{root}/study/{name}", data, "it")
        storage.write_atomic(f"{root}/study/.hidden", b"x", "it")
    return Source(1, kind, f"{root}/study" + (".zip" if kind == "zip" else ""), "study")


def content(source: Source) -> tuple[list[tuple[int, int, bool, bytes]], str]:
    found = []
    with open_study(source) as study:
        for member in study.members:
            with member.open() as file:
                found.append((member.number, member.size, member.dicom_name, file.read()))
        return found, study.sha256()


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_the_same_wherever_it_lies(tmp_path: Path, s3: str, kind: Literal["zip", "folder"],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    members, sha256 = content(put(str(tmp_path), kind))
    assert [data for *_, data in members] == [FILES[name] for name in sorted(FILES)]
    assert members[-1][2:] == (False, b"a,b")
    assert content(put(s3, kind)) == (members, sha256)
    monkeypatch.setattr(studies, "WHOLE_BYTES", 999)
    assert content(put(s3, kind)) == (members, sha256)


def test_the_source_of_a_zip_is_its_bytes(tmp_path: Path) -> None:
    _, sha256 = content(put(str(tmp_path), "zip"))
    assert sha256 == hashlib.sha256(zipped()).hexdigest()


def test_the_source_of_a_folder_is_its_files_whatever_their_names(tmp_path: Path) -> None:
    source = put(str(tmp_path), "folder")
    _, before = content(source)
    (tmp_path / "study" / "07.dcm").rename(tmp_path / "study" / "zz.dcm")
    assert content(source)[1] == before
    (tmp_path / "study" / "zz.dcm").write_bytes(b"7")
    assert content(source)[1] != before


@pytest.mark.parametrize("place", ["disk", "s3", "s3 by ranges"])
def test_a_damaged_zip_is_refused_and_has_a_checksum(tmp_path: Path, s3: str, place: str,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    if place == "s3 by ranges":
        monkeypatch.setattr(studies, "WHOLE_BYTES", 0)
    root = str(tmp_path) if place == "disk" else s3
    storage.write_atomic(f"{root}/study.zip", zipped()[:-1000], "it")
    with open_study(Source(1, "zip", f"{root}/study.zip", "study")) as study:
        with pytest.raises(StudyRefused, match="the zip cannot be read"):
            _ = study.members
        assert study.sha256() == hashlib.sha256(zipped()[:-1000]).hexdigest()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a whole object is fetched, and a piece of one; and the bytes in pieces."""
    seen: Counter[str] = Counter()
    whole, readinto = storage.File.whole, storage.File.readinto

    def count_whole(file: storage.File) -> Any:
        seen["whole"] += 1
        return whole(file)

    def count_piece(file: storage.File, buffer: Any) -> int:
        got = readinto(file, buffer)
        seen.update(pieces=1, bytes=got)
        return got
    monkeypatch.setattr(storage.File, "whole", count_whole)
    monkeypatch.setattr(storage.File, "readinto", count_piece)
    return seen


def test_an_object_is_fetched_once(s3: str, requests: Counter[str]) -> None:
    content(put(s3, "zip"))
    assert requests == {"whole": 1}
    content(put(s3, "folder"))
    assert requests == {"whole": 1 + len(FILES)}


def test_a_large_zip_is_not_fetched_for_its_heads(s3: str, requests: Counter[str],
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "WHOLE_BYTES", len(zipped()) - 1)
    with open_study(put(s3, "zip")) as study:
        assert [m.head(4) for m in study.members] == [FILES[name][:4] for name in sorted(FILES)]
    assert requests["whole"] == 0
    assert requests["pieces"] < 2 * len(FILES)
    assert requests["bytes"] < len(zipped()) / 2


def test_a_store_that_fails_is_not_the_studys_fault(weed: Weed, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "WHOLE_BYTES", 0)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    source = put(s3, "zip")
    with faulty(weed.endpoint, "cut", times=math.inf) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with open_study(source) as study, pytest.raises(EnvironmentFault, match="read the study: NETWORK_CONNECTION;"):
            _ = study.members
