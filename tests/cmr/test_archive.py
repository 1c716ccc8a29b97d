from __future__ import annotations

import contextlib
import io
import random
import zipfile
from pathlib import Path

import pytest

from lvray.cmr import archive
from lvray.cmr.archive import Limits, Member, folder_members, zip_members
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


def refusal(data: bytes, limits: Limits = archive.DEFAULT) -> Reason:
    with pytest.raises(StudyRefused) as refused:
        list(map(content, zip_members(io.BytesIO(data), limits)))
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


def test_a_bomb_is_unsafe() -> None:
    assert refusal(zipped({"1.dcm": bytes(4 << 20)})) == Reason.UNSAFE_ARCHIVE
    assert zip_members(io.BytesIO(zipped({"blank.dcm": bytes(1 << 19)})))  # an empty image is no bomb
    small = Limits(study_bytes=2500)
    assert zip_members(io.BytesIO(zipped({"1": bytes(1000), "2": bytes(1000)})), small)
    assert refusal(zipped({str(i): bytes(1000) for i in range(3)}), small) == Reason.UNSAFE_ARCHIVE
    tight = Limits(ratio=100)
    assert zip_members(io.BytesIO(zipped({"1": bytes(90 << 10)})), tight)
    assert refusal(zipped({"1": bytes(200 << 10)}), tight) == Reason.UNSAFE_ARCHIVE


def relabelled(data: bytes, place: int, value: int) -> bytes:
    """The zip with a number in the directory's entry of its first member changed."""
    changed = bytearray(data)
    at = changed.index(b"PK\1\2") + place
    changed[at:at + 4] = value.to_bytes(4, "little")
    return bytes(changed)


@pytest.mark.parametrize("claimed", [2999, 1, 0, 3001, 100_000])
def test_a_member_that_is_not_of_the_size_it_claims(claimed: int) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        data = relabelled(zipped({"secret.dcm": b"123" * 1000}, method), 24, claimed)
        found = zip_members(io.BytesIO(data))
        assert refusal(data) == Reason.UNREADABLE_FILE
        with contextlib.suppress(StudyRefused):
            assert len(found[0].head(1 << 20)) <= claimed


def test_members_that_share_bytes_are_unsafe() -> None:
    data = zipped({"1.dcm": bytes(range(256)) * 9, "2.dcm": b"2"})
    assert len(zip_members(io.BytesIO(data))) == 2
    assert refusal(relabelled(data, 20, len(data))) == Reason.UNSAFE_ARCHIVE  # the first reaches into the second
    assert refusal(relabelled(data, 42, 2000)) == Reason.UNSAFE_ARCHIVE  # it starts in the directory
    head, entries = data[:data.index(b"PK\1\2")], data[data.index(b"PK\1\2"):]
    second = entries.rindex(b"PK\1\2")
    assert refusal(head + entries[:second] + relabelled(entries[second:], 42, 0)) == Reason.UNSAFE_ARCHIVE


def test_more_files_than_a_study_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for n in range(3):
        (tmp_path / str(n)).write_bytes(b"1")
    data = zipped({str(n): b"1" for n in range(3)})
    assert len(folder_members(tmp_path)) == len(zip_members(io.BytesIO(data))) == 3
    monkeypatch.setattr(archive, "MAX_MEMBERS", 2)
    assert refusal(data, Limits(members=2)) == Reason.TOO_LARGE
    with pytest.raises(StudyRefused, match="the folder holds more than 2 files"):
        folder_members(tmp_path)


def test_a_directory_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped({str(n): b"1" for n in range(100)})
    assert len(zip_members(io.BytesIO(data))) == 100
    monkeypatch.setattr(archive, "DIRECTORY_ENTRY_BYTES", 0.05)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    assert refusal(data) == Reason.UNSAFE_ARCHIVE


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_without_bounds_is_refused(method: int) -> None:
    with pytest.raises(StudyRefused, match="member 1 of the zip is not deflated"):
        zip_members(io.BytesIO(zipped({"secret.dcm": bytes(500)}, method)))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_head_of_a_member_is_read_alone(method: int) -> None:
    noise = random.Random(0).randbytes(1 << 20)
    reads: list[int] = []

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            reads.append(len(data))
            return data

    member, = zip_members(Counted(zipped({"a.dcm": noise}, method)))
    for n in (0, 1, 4096, len(noise), len(noise) + 1):
        reads.clear()
        assert member.head(n) == noise[:n]
        assert sum(reads) <= n + 1000 or n > len(noise)
    assert content(member) == noise


def test_the_head_of_any_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    for member in (*folder_members(tmp_path), *zip_members(io.BytesIO(zipped({"a": b"12345"}))),
                   Member(1, 5, lambda: io.BytesIO(b"12345"))):
        assert [member.head(n) for n in (0, 3, 5, 9)] == [b"", b"123", b"12345", b"12345"]


def test_data_that_inflate_to_far_more_than_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    member, = zip_members(io.BytesIO(zipped({"a": bytes(1 << 19) + b"end"})))
    monkeypatch.setattr(archive, "PIECE_BYTES", 1000)
    assert content(member) == bytes(1 << 19) + b"end"


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


def test_a_directory_that_leads_beyond_the_file() -> None:
    data = bytearray(zipped({"secret.dcm": b"1" * 50}))
    data[26:30] = b"\xff\xff\xff\xff"  # lengths of the local name and extra field
    assert refusal(bytes(data)) == Reason.UNREADABLE_FILE


def test_odd_names_do_no_harm() -> None:
    nameless = zipped({"a": b"1"}).replace(b"\1\0\0\0a", b"\1\0\0\0\0").replace(b"\0a", b"\0\0")
    assert [content(m) for m in zip_members(io.BytesIO(nameless))] == [b"1"]
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
    three = Limits(members=3)
    assert zip_members(io.BytesIO(zipped(dict.fromkeys("abc", b""))), three)
    assert refusal(zipped(dict.fromkeys("abcd", b"")), three) == Reason.TOO_LARGE
    monkeypatch.setattr(archive, "DIRECTORY_ENTRY_BYTES", 0.001)
    assert refusal(zipped(dict.fromkeys("abc", b""))) == Reason.UNSAFE_ARCHIVE


def test_another_compression_is_refused() -> None:
    assert refusal(zipped({"1": b"1" * 99}, zipfile.ZIP_BZIP2)) == Reason.UNREADABLE_FILE
