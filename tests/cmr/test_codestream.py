"""Compressed images that claim another size than their header's are not given to a decoder."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import get_frame

from lvray.cmr.codestream import JPEG_2000, is_image
from lvray.cmr.dicom import read_frames
from lvray.cmr.pixels import pixels
from lvray.errors import StudyRefused

SAMPLES = ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "JPEG-LL.dcm"]


def sample(name: str) -> bytes:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str), name
    return Path(path).read_bytes()


@pytest.mark.parametrize("name", SAMPLES)
def test_size_is_read_from_the_stream(name: str) -> None:
    ds = pydicom.dcmread(BytesIO(sample(name)))
    data = get_frame(ds.PixelData, 0, number_of_frames=1)
    assert is_image(data, (ds.Rows, ds.Columns))
    assert not is_image(data, (ds.Rows + 1, ds.Columns))
    assert not is_image(data, (ds.Rows, ds.Columns - 1))
    for n in (0, 1, 3, 10):
        assert not is_image(data[:n], (ds.Rows, ds.Columns))


def test_a_stream_of_sixty_thousand_pixels_a_side_is_refused(make: Any) -> None:
    data = bytearray(sample("MR_small_jp2klossless.dcm"))
    at = data.index(JPEG_2000) + 8
    for offset in (0, 4, 16, 20):  # image and tile
        data[at + offset:at + offset + 4] = (60_000).to_bytes(4, "big")
    frame, = read_frames([make.member(bytes(data), 1)])
    with pytest.raises(StudyRefused, match="image 1 is damaged"):
        pixels([frame])


@pytest.mark.parametrize(("rows", "columns"), [(0, 64), (64, 0), (5000, 64), (64, 65535)])
def test_absurd_sizes_are_refused_by_the_header(make: Any, rows: int, columns: int) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    ds.Rows, ds.Columns = rows, columns
    with pytest.raises(StudyRefused, match=f"claims {rows} x {columns} pixels"):
        read_frames(make.members([ds]))
