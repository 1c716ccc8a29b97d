"""What a compressed image says of its own size."""

from __future__ import annotations

import struct
from pathlib import Path

import pydicom
import pytest
from pydicom.data.data_manager import DATA_ROOT
from pydicom.encaps import get_frame

from lvray.cmr.codestream import is_image


def frame(name: str) -> bytes:
    ds = pydicom.dcmread(Path(DATA_ROOT, "test_files", name))
    return get_frame(ds.PixelData, 0, number_of_frames=1)


JPEG_2000, JPEG_LS = frame("MR_small_jp2klossless.dcm"), frame("MR_small_jpeg_ls_lossless.dcm")


def at(data: bytes, place: int, value: bytes) -> bytes:
    return data[:place] + value + data[place + len(value):]


@pytest.mark.parametrize(("name", "shape"), [
    ("MR_small_jp2klossless.dcm", (64, 64)), ("MR_small_jpeg_ls_lossless.dcm", (64, 64)),
    ("JPEG-lossy.dcm", (1024, 256)), ("JPEG2000.dcm", (1024, 256))])
def test_images_of_their_size(name: str, shape: tuple[int, int]) -> None:
    assert is_image(frame(name), shape)
    assert not is_image(frame(name), (shape[1], shape[0] + 1))
    assert not is_image(frame(name)[:9], shape)


def test_colour_is_no_mr_image() -> None:
    assert not is_image(frame("SC_rgb_jpeg_gdcm.dcm"), (100, 100))


@pytest.mark.parametrize("changed", [
    at(JPEG_2000, 8, struct.pack(">II", 60000, 60000)), at(JPEG_2000, 16, struct.pack(">II", 1, 1)),
    at(JPEG_2000, 24, struct.pack(">II", 1, 1)), at(JPEG_2000, 24, bytes(8)), at(JPEG_2000, 40, b"\x40\0"),
    at(JPEG_2000, 43, b"\2\2"), at(JPEG_LS, JPEG_LS.index(b"\xff\xf7") + 5, struct.pack(">HH", 60000, 60000)),
    at(JPEG_LS, JPEG_LS.index(b"\xff\xf7") + 9, b"\3"), JPEG_LS.replace(b"\xff\xf7", b"\xff\xde"),
    JPEG_LS[:2] + b"\xff\xeb\0\4AB" + JPEG_LS[2:], JPEG_LS[2:], b"", b"\xff\xd8" * 50])
def test_what_claims_something_else(changed: bytes) -> None:
    assert not is_image(changed, (64, 64))


def test_tables_may_come_first() -> None:
    assert is_image(JPEG_LS[:2] + b"\xff\xe0\0\4AB\xff\xfe\0\3C" + JPEG_LS[2:], (64, 64))


def test_large_jpeg_2000_would_cost_too_much() -> None:
    for side, fine in ((1024, True), (1025, False)):
        data = at(at(JPEG_2000, 8, struct.pack(">II", side, side)), 24, struct.pack(">II", side, side))
        assert is_image(data, (side, side)) == fine
