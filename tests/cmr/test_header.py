"""Where the scanner of headers answers, a Frame is what pydicom makes it; else it leaves the file to pydicom."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.data.data_manager import DATA_ROOT
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRBigEndian, ImplicitVRLittleEndian

from lvray.cmr import dicom
from lvray.cmr.archive import Member
from lvray.cmr.dicom import Frame, read_frames
from lvray.cmr.header import Header, file_meta, parse, read_header
from lvray.errors import Reason, StudyRefused

Outcome = list[Frame] | Reason
ITEM, ITEM_END, SEQUENCE_END = (struct.pack("<HH", 0xFFFE, e) for e in (0xE000, 0xE00D, 0xE0DD))
LONG = (b"SQ", b"UN", b"OB", b"OW", b"UT", b"UV")
NOBODY = Member(1, 0, io.BytesIO)
ENDLESS = b"\xff" * 4


def scan(data: bytes) -> Header | None:
    return read_header(lambda n: data[:n])


def outcome(data: bytes) -> Outcome:
    try:
        frames = read_frames([Member(7, len(data), lambda: io.BytesIO(data))])
        return [dataclasses.replace(f, member=NOBODY) for f in frames]
    except StudyRefused as e:
        return e.reason


def pydicoms(data: bytes) -> Outcome:
    with pytest.MonkeyPatch.context() as without:
        without.setattr(dicom, "read_header", lambda head: None)
        return outcome(data)


def element(tag: int, vr: bytes, value: bytes, length: bytes | None = None, implicit: bool = False) -> bytes:
    start = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        return start + (length or struct.pack("<I", len(value))) + value
    if vr in LONG:
        return start + vr + b"\0\0" + (length or struct.pack("<I", len(value))) + value
    return start + vr + (length or struct.pack("<H", len(value)))[:2] + value


def plain(make: Any, implicit: bool = False, **attributes: Any) -> bytes:
    """One image whose header ends with the person's weight, ahead of group 18."""
    ds = make.stack(slices=1, phases=1)[0]
    for name, value in attributes.items():
        setattr(ds, name, value)
    if implicit:
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data: bytes = make.bytes(ds)
    return data


def with_element(data: bytes, inserted: bytes) -> bytes:
    """Ahead of group 18: tags from 0010,xxxx to 0017,xxxx fit."""
    at = data.index(struct.pack("<HH", 0x18, 0x50))
    return data[:at] + inserted + data[at:]


def samples() -> list[Path]:
    """pydicom's own, those of pydicom-data, and the real ones where they are there."""
    spec = importlib.util.find_spec("data_store")
    more = list(spec.submodule_search_locations or ()) if spec else []
    folders = [Path(DATA_ROOT, "test_files"), *map(Path, more), Path(__file__).resolve().parents[3] / "shared" / "data"]
    found = [p for f in folders for p in sorted(f.rglob("*")) if p.is_file() and p.stat().st_size < 1 << 20]
    return [p for p in found if b"DICM" in p.read_bytes()[128:132] or p.suffix == ".dcm"]


def test_every_sample_gives_the_same_frames_either_way() -> None:
    answered = 0
    for path in samples():
        data = path.read_bytes()
        if scan(data) is None:
            continue
        answered += 1
        found = outcome(data)
        assert found == pydicoms(data), path.name
    assert answered >= 20


@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_implicit.dcm", "MR_small_RLE.dcm", "MR_small_padded.dcm",
                                  "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_truncated.dcm"])
def test_plain_files_are_scanned(name: str) -> None:
    data = Path(DATA_ROOT, "test_files", name).read_bytes()
    header = scan(data)
    assert header
    assert data[header.pixels_at - 12:header.pixels_at].find(b"\xe0\x7f\x10\0") in (0, 4)


def test_a_phantom_is_scanned(phantom: Callable[..., Any]) -> None:
    _, cine = phantom()
    outlined: list[Frame] = list(cine.outlined.values())
    frames: list[Frame] = [f for row in cine.frames for f in row]
    for frame in (*frames, *outlined):
        with frame.member.open() as file:
            data = file.read()
        assert scan(data)
        assert outcome(data) == pydicoms(data) == [dataclasses.replace(frame, member=NOBODY)]
    assert all(f.has_overlay for f in outlined)


@pytest.mark.parametrize("change", [
    {"SOPClassUID": EnhancedMRImageStorage, "NumberOfFrames": 1}, {"SpecificCharacterSet": "ISO_IR 13"},
    {"SpecificCharacterSet": ["", "ISO 2022 IR 87"]}, {"SpecificCharacterSet": "ISO_IR 192", "PatientID": "ü"},
    {"SeriesDescription": ["SAX", "cine"]}, {"PatientName": "A^B=C"}, {"PatientID": " 1"}])
def test_what_may_mean_something_else_is_left_to_pydicom(make: Any, change: dict[str, Any]) -> None:
    assert scan(plain(make))
    assert scan(plain(make, **change)) is None


def test_a_text_without_end_is_refused(make: Any) -> None:
    data = plain(make).replace(element(0x00100020, b"LO", b"one "), element(0x00100020, b"LO", b"x" * 1026))
    assert scan(data) is None
    assert outcome(data) == Reason.UNREADABLE_FILE


@pytest.mark.parametrize(("old", "new"), [
    (b"IS\x02\x001 ", b"IS\x02\x00\xff "), (b"IS\x02\x001 ", b"IS\x02\x00a "), (b"IS\x02\x001 ", b"SH\x02\x001 "),
    (b"DS\x04\x000.0 ", b"DS\x04\x000,0 "), (b"US\x02\x00\x14\0", b"SS\x02\x00\x14\0"),
    (b"\x28\0\x10\0US", b"\x28\0\x12\0US"), (b"DICM", b"DICN"), (b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0"),
    (b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.50"[:20]), (b"\xe0\x7f\x10\0OW", b"\xe0\x7f\x10\0UN"),
    (b"CS\x0a\0ISO_IR 100", b"LO\x0a\0ISO_IR 100"), (b"IS\x02\x001 ", b"IS\x10\x009007199254740993"),
    (b"\x02\0\0\0UL", b"\x02\0\1\0UL"), (b"MONOCHROME2 ", b"MONOCHROME2\n")])
def test_damage_is_left_to_pydicom(make: Any, old: bytes, new: bytes) -> None:
    data = plain(make, InstanceNumber=1, SpecificCharacterSet="ISO_IR 100")
    assert old in data
    assert scan(data)
    assert scan(data.replace(old, new, 1)) is None


def test_an_image_without_preamble_or_of_big_endian_is_left_to_pydicom(make: Any) -> None:
    data = plain(make)
    assert scan(data[data.index(b"\x08\0\x16\0UI"):]) is None
    ds = make.stack(slices=1, phases=1)[0]
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    assert scan(make.bytes(ds)) is None


def nested(levels: int, endless: bool, implicit: bool) -> bytes:
    """A sequence of an empty item and one that holds a wanted tag and the next level."""
    inner = element(0x00080018, b"UI", b"1\0", implicit=implicit)
    if levels > 1:
        inner += nested(levels - 1, endless, implicit)
    size, end = (ENDLESS, ITEM_END + bytes(4)) if endless else (struct.pack("<I", len(inner)), b"")
    items = ITEM + bytes(4) + ITEM + size + inner + end
    return element(0x00111010, b"SQ", items + (SEQUENCE_END + bytes(4) if endless else b""),
                   ENDLESS if endless else None, implicit)


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("endless", [False, True])
@pytest.mark.parametrize("levels", [1, 2, 5])
def test_sequences_are_stepped_over(make: Any, levels: int, endless: bool, implicit: bool) -> None:
    whole = plain(make, implicit)
    data = with_element(whole, nested(levels, endless, implicit))
    header = scan(data)
    assert header
    assert header.get("Rows") == 20
    assert outcome(data) == pydicoms(data) == outcome(whole)


@pytest.mark.parametrize("broken", ["short item", "long item", "no end", "no item", "unknown", "too deep",
                                    "of bytes"])
def test_sequences_that_are_not_plain_are_left_to_pydicom(make: Any, broken: str) -> None:
    item = ITEM + ENDLESS + ITEM_END + bytes(4)
    end = SEQUENCE_END + bytes(4)
    inserted = {
        "short item": element(0x00111010, b"SQ", ITEM + b"\4\0\0\0" + element(1, b"US", b"\1\0") + end, ENDLESS),
        "long item": element(0x00111010, b"SQ", ITEM + b"\x08\0\0\0" + ITEM_END + bytes(4) + end, ENDLESS),
        "no end": element(0x00111010, b"SQ", item, ENDLESS),
        "no item": element(0x00111010, b"SQ", element(0x00080008, b"CS", b"A ") + end, ENDLESS),
        "unknown": element(0x00111010, b"UN", item + end, ENDLESS),
        "too deep": nested(12, True, False),
        "of bytes": element(0x00111010, b"OB", item + end, ENDLESS)}[broken]
    data = with_element(plain(make), inserted)
    assert scan(data) is None
    outcome(data)


def test_a_long_header_is_asked_for_in_steps(make: Any) -> None:
    private = b"".join(element(0x00110010 + n, b"UN", random.Random(n).randbytes(30_000)) for n in range(4))
    data = with_element(plain(make), private)
    asked: list[int] = []

    def head(n: int) -> bytes:
        asked.append(n)
        return data[:n]

    header = read_header(head)
    assert header
    assert header.pixels_at == len(data) - 960
    assert asked == sorted(asked)
    assert asked[-1] < 1 << 19
    assert outcome(data) == pydicoms(data)


def test_a_header_without_end_is_left_to_pydicom(make: Any) -> None:
    data = with_element(plain(make), element(0x00111010, b"UN", bytes(2 << 20)))
    asked: list[int] = []

    def head(n: int) -> bytes:
        asked.append(n)
        return data[:n]

    assert read_header(head) is None
    assert max(asked) <= 1 << 20
    assert outcome(data) == pydicoms(data)
    assert isinstance(outcome(data), list)


def test_where_the_data_set_begins(make: Any) -> None:
    data = plain(make)
    syntax, at = file_meta(data)
    assert syntax == "1.2.840.10008.1.2.1"
    assert data[at:at + 6] == b"\x08\0\x16\0UI"
    with pytest.raises(struct.error):
        parse(data[:at + 100])


NASTY = (b"", b"1\\2", b"\xff\xfe", b"1e5 ", b"nan ", b"1_0 ", b" 12 ", b"\n1", b"\x1b$B1", b"1.0 ", b"-0", b"inf ",
         b"99999999999999", b"A=B ", b"\\\\", b"  ", b"\0\0", b"a\0b ", b"~x", b"1.5\0", b"\0\x001 ", b"2147483648",
         b"ISO_IR 13 ", b"\\ISO 2022 IR 87 ", b"GB18030 ", b"bogus ", b"x" * 1500, b"\1\0\2\0", b"\xff\xff", ENDLESS)
VRS = b"AE AS AT CS DA DS DT FD FL IS LO LT OB OW PN SH SL SQ SS ST TM UI UL UN US UT UV XX".split()


def split(data: bytes, implicit: bool) -> tuple[bytes, list[tuple[int, bytes, bytes]], bytes]:
    """What comes ahead of the elements; tag, VR and value of each; the pixels. There are no sequences."""
    _, at = file_meta(data)
    ahead, elements = data[:at], []
    while (tag := int.from_bytes(data[at:at + 2], "little") << 16 | int.from_bytes(data[at + 2:at + 4], "little")) \
            != 0x7FE00010:
        vr = b"" if implicit else data[at + 4:at + 6]
        size = slice(at + 4, at + 8) if implicit else slice(at + 8, at + 12) if vr in LONG else slice(at + 6, at + 8)
        start, length = size.stop, int.from_bytes(data[size], "little")
        elements.append((tag, vr, data[start:start + length]))
        at = start + length
    return ahead, elements, data[at:]


def damaged(data: bytes, r: random.Random) -> bytes:
    """The file with elements dropped, doubled, moved, of another VR or value, bytes changed; sometimes cut short."""
    implicit = data.count(b"1.2.840.10008.1.2.1\0") == 0
    ahead, elements, pixels = split(data, implicit)
    parts = [element(*e, implicit=implicit) for e in elements]
    for _ in range(r.randint(1, 3)):
        n = r.randrange(len(parts))
        tag, vr, value = elements[n]
        kind = r.randrange(8)
        if kind == 0:
            parts[n] = b""
        elif kind == 1:
            parts[n] *= 2
        elif kind == 2:
            m = r.randrange(len(parts))
            parts[n], parts[m] = parts[m], parts[n]
        elif kind == 3:
            parts[n] = element(tag, r.choice(VRS), value, implicit=implicit)
        elif kind < 7:
            changed = r.choice(NASTY)
            parts[n] = element(tag, vr, changed + b" " * (len(changed) % 2), implicit=implicit)
        else:
            body = bytearray(ahead + b"".join(parts))
            body[r.randrange(128, len(body))] = r.randrange(256)
            ahead, parts = bytes(body[:len(ahead)]), [bytes(body[len(ahead):]), *[b""] * (len(parts) - 1)]
    whole = ahead + b"".join(parts) + pixels
    return whole[:r.randrange(len(whole))] if r.random() < 0.05 else whole


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_give_the_same_frames_either_way(make: Any, seed: int) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    ds.SpecificCharacterSet, ds.PatientName, ds.PatientSize = "ISO_IR 100", "A^B", 1.7
    make.draw(ds, make.square((20, 24), 3, 9))
    good = [make.bytes(ds), plain(make, implicit=True, SpecificCharacterSet="", TemporalPositionIdentifier=3)]
    r, answered = random.Random(seed), 0
    for _ in range(1200):
        data = damaged(r.choice(good), r)
        if scan(data):
            answered += 1
            assert outcome(data) == pydicoms(data)
        else:
            outcome(data)
    assert answered > 200
