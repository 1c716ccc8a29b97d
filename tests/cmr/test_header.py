"""The fast header reader against pydicom: wherever it answers, the Frame and the pixels are the same."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data.data_manager import DATA_ROOT
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from lvray.cmr import pixels
from lvray.cmr.dicom import Frame, _any_frames, _plain_frame
from lvray.cmr.file import data_set, reading
from lvray.cmr.header import HEAD_BYTES, parse, read_header
from lvray.errors import StudyRefused

ANSWERED = {"MR_small.dcm", "MR_small_implicit.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm",
            "MR_small_RLE.dcm"}


def fast(make: Any, data: bytes) -> Frame | str | None:
    """The fast way's Frame, or its refusal, or None where it leaves the file to pydicom."""
    member = make.member(data, 1)
    header = read_header(member.head)
    if header is None:
        return None
    try:
        return replace(_plain_frame(header, member), member=NOBODY)
    except StudyRefused as refused:
        return str(refused)


def slow(make: Any, data: bytes) -> Frame | str | None:
    with reading():
        try:
            found = _any_frames(make.member(data, 1))
        except StudyRefused as refused:
            return str(refused)
    return replace(found[0], member=NOBODY) if found else None


NOBODY: Any = None


def small(make: Any) -> bytes:
    return saved(make.stack(slices=1, phases=1)[0])


def saved(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    out = BytesIO()
    pydicom.dcmwrite(out, ds, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian,
                     little_endian=True)
    return out.getvalue()


def samples() -> Iterator[Path]:
    yield from (p for p in sorted(Path(DATA_ROOT).rglob("*")) if p.is_file() and p.suffix not in (".py", ".pyc"))


def test_every_sample_of_pydicom(make: Any) -> None:
    answered = set()
    for path in samples():
        data = path.read_bytes()
        found = fast(make, data)
        if found is not None:
            assert found == slow(make, data), path.name
            answered.add(path.name)
    assert answered >= ANSWERED


def test_every_image_of_the_samples(make: Any, shared: Path) -> None:
    files = [p for p in sorted(shared.rglob("*")) if p.is_file() and p.stat().st_size < 2_000_000][::5]
    answered = 0
    for path in files:
        data = path.read_bytes()
        found = fast(make, data)
        if found is not None:
            assert found == slow(make, data)
            answered += 1
    assert answered > 50


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_sequences_and_private_elements_are_walked(make: Any, syntax: str) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    inner = Dataset()
    inner.PatientID = "another"
    inner.ReferencedImageSequence = [Dataset(), Dataset()]
    ds.ReferencedImageSequence = [inner, inner]
    ds["ReferencedImageSequence"].is_undefined_length = True
    inner.is_undefined_length_sequence_item = True
    ds.private_block(0x29, "VENDOR", create=True).add_new(0x10, "OB", b"\1" * (3 * HEAD_BYTES))
    data = saved(ds, syntax)
    found = fast(make, data)
    assert isinstance(found, Frame)
    assert found == slow(make, data)


@pytest.mark.parametrize(("name", "value"), [
    ("SpecificCharacterSet", "GB18030"), ("PatientName", "M\u00fcller^A"), ("SeriesDescription", "a\\b"),
    ("NumberOfFrames", 2)])
def test_what_is_unusual_is_left_to_pydicom(make: Any, name: str, value: Any) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    setattr(ds, name, value)
    if name == "PatientName":
        ds.SpecificCharacterSet = "ISO_IR 100"
    found = fast(make, saved(ds))
    assert found is None or found == slow(make, saved(ds))
    if name != "NumberOfFrames":
        assert found is None


def test_tags_out_of_order_are_left_to_pydicom(make: Any) -> None:
    data = small(make)
    at = data.index(struct.pack("<HH2sH", 0x20, 0x13, b"IS", 2))
    element = data[at:at + 10]
    assert fast(make, data[:at] + data[at + 10:]) is not None
    last = data.index(struct.pack("<HH2sH", 0x28, 0x10, b"US", 2))
    assert fast(make, data[:at] + data[at + 10:last] + element + data[last:]) is None
    assert fast(make, data[:at] + element + data[at:]) is None


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_done_to_a_header_the_answers_agree(make: Any, seed: int) -> None:
    rng, sound = random.Random(seed), small(make)
    pixels_at = parse(sound).pixels_at
    agreed = 0
    for _ in range(500):
        data = bytearray(sound)
        for _ in range(rng.randint(1, 3)):
            at, how = rng.randrange(132, pixels_at), rng.random()
            if how < 0.6:
                data[at] = rng.choice((0, 1, 32, 48, 57, 65, 92, 127, 128, 255, rng.randrange(256)))
            elif how < 0.8:
                del data[at:at + rng.randint(1, 8)]
            else:
                data[at:at] = bytes(rng.choices(range(256), k=rng.randint(1, 8)))
        found = fast(make, bytes(data))
        if found is not None:
            assert found == slow(make, bytes(data)), bytes(data[132:pixels_at])
            agreed += 1
    assert agreed > 50


@pytest.mark.parametrize(("signed", "stored", "top"), [(0, 12, 4095), (0, 16, 65535), (1, 16, -3), (1, 12, -3),
                                                       (0, 12, 5000)])
def test_plain_pixels_are_pydicoms(make: Any, signed: int, stored: int, top: int) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    values = np.arange(ds.Rows * ds.Columns, dtype=np.int64).reshape(ds.Rows, ds.Columns) % 1000
    values[3, 5] = top
    ds.PixelRepresentation, ds.BitsStored, ds.HighBit = signed, stored, stored - 1
    ds.PixelData = values.astype("<i2" if signed else "<u2").tobytes()
    data = saved(ds)
    plain = pixels._plain(data)
    assert (plain is not None) == ((signed, stored, top) in [(0, 12, 4095), (0, 16, 65535), (1, 16, -3)])
    if plain is not None:
        with reading():
            np.testing.assert_array_equal(plain[0], data_set(data, make.member(data, 1)).pixel_array)
