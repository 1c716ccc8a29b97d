from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from lvray.cmr import archive
from lvray.cmr.archive import Member, folder_members, zip_members
from lvray.errors import EnvironmentFault, Reason, StudyRefused


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, data in files.items():
            file.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def content(m: Member) -> bytes:
    with m.open() as file:
        return file.read()


def refusal(data: bytes) -> Reason:
    with pytest.raises(StudyRefused) as refused:
        list(map(content, zip_members(io.BytesIO(data))))
    assert "secret" not in str(refused.value)
    return refused.value.reason


def test_files_are_numbered_by_name_and_hidden_ones_left_out(tmp_path: Path) -> None:
    files = {"b/2.DCM": b"22", "a.txt": b"1", ".hidden": b"x", "b/._2.DCM": b"x"}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    for found in (folder_members(tmp_path), zip_members(io.BytesIO(zipped(files | {"b/": b""})))):
        assert [(m.number, m.size, content(m), m.dicom_name) for m in found] == [
            (1, 1, b"1", False), (2, 2, b"22", True)]


@pytest.mark.parametrize("name", ["../secret.dcm", "a/../../secret", "/secret", "..\\secret", "C:\\secret", "C:secret"])
def test_a_name_that_points_outside_is_unsafe(name: str) -> None:
    assert refusal(zipped({"1.dcm": b"1", name: b"2"})) == Reason.UNSAFE_ARCHIVE


def test_a_bomb_is_unsafe(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(zipped({"1.dcm": bytes(4 << 20)})) == Reason.UNSAFE_ARCHIVE
    assert zip_members(io.BytesIO(zipped({"blank.dcm": bytes(1 << 19)})))  # an empty image is no bomb
    monkeypatch.setattr(archive, "MAX_STUDY_BYTES", 2500)
    assert zip_members(io.BytesIO(zipped({"1": bytes(1000), "2": bytes(1000)})))
    assert refusal(zipped({str(i): bytes(1000) for i in range(3)})) == Reason.UNSAFE_ARCHIVE


def test_an_encrypted_zip_is_refused() -> None:
    data = bytearray(zipped({"secret.dcm": b"1" * 50}))
    data[data.index(b"PK\1\2") + 8] |= 1
    with pytest.raises(StudyRefused, match="member 1 of the zip is encrypted"):
        zip_members(io.BytesIO(bytes(data)))


def test_a_damaged_zip_is_refused() -> None:
    data = zipped({"secret.dcm": bytes(range(256)) * 20}, zipfile.ZIP_STORED)
    at = len(data) // 2
    for broken in (b"no zip", b"", data[:-30], data[:at] + b"?" + data[at + 1:], data.replace(b"PK\3\4", b"PK\3\5")):
        assert refusal(broken) == Reason.UNREADABLE_FILE


def test_odd_names_do_no_harm() -> None:
    found = zip_members(io.BytesIO(zipped({".": b"1", "12:30.dcm": b"2", "ü.dcm": b"3"})))
    assert [content(m) for m in found] == [b"1", b"2", b"3"]


def test_a_file_that_cannot_be_opened_is_the_environments_fault(tmp_path: Path) -> None:
    (tmp_path / "secret.dcm").write_bytes(b"1")
    found = folder_members(tmp_path)
    (tmp_path / "secret.dcm").unlink()
    with pytest.raises(EnvironmentFault, match=r"file 1 of the study cannot be opened") as fault:
        found[0].open()
    assert "secret" not in str(fault.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_first_bytes_of_a_member(method: int, tmp_path: Path) -> None:
    data = {"a": bytes(range(256)) * 40, "b": b"short", "c": b""}
    for name, content_ in data.items():
        (tmp_path / name).write_bytes(content_)
    for found in (zip_members(io.BytesIO(zipped(data, method))), folder_members(tmp_path)):
        for n in (0, 3, 300, 20_000):
            assert [m.head(n) for m in found] == [content_[:n] for content_ in data.values()]


def test_no_more_is_inflated_than_the_directory_states() -> None:
    data = bytearray(zipped({"1": bytes(range(256)) * 400}))
    for at in (data.index(b"PK\3\4") + 22, data.index(b"PK\1\2") + 24):
        data[at:at + 4] = (1000).to_bytes(4, "little")
    found, = zip_members(io.BytesIO(bytes(data)))
    assert found.head(1 << 20) == (bytes(range(256)) * 4)[:1000]
    assert refusal(bytes(data)) == Reason.UNREADABLE_FILE


def test_members_that_share_bytes_are_a_bomb() -> None:
    data = zipped({"1": b"1" * 99, "2": b"2" * 99})
    second = data.rindex(b"PK\1\2") + 42
    assert refusal(data[:second] + bytes(4) + data[second + 4:]) == Reason.UNSAFE_ARCHIVE


def test_a_zip_of_too_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    assert zip_members(io.BytesIO(zipped(dict.fromkeys("abc", b""))))
    assert refusal(zipped(dict.fromkeys("abcd", b""))) == Reason.TOO_LARGE
    monkeypatch.setattr(archive, "MAX_DIRECTORY_BYTES", 100)
    assert refusal(zipped(dict.fromkeys("abc", b""))) == Reason.UNSAFE_ARCHIVE


def test_another_compression_is_refused() -> None:
    assert refusal(zipped({"1": b"1" * 99}, zipfile.ZIP_BZIP2)) == Reason.UNREADABLE_FILE
