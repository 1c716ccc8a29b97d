"""Pixels and overlays: any transfer syntax, rescale, bit order, place."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels.utils import pixel_array

from lvray.cmr import file
from lvray.cmr import pixels as pixel_module
from lvray.cmr.archive import zip_members
from lvray.cmr.dicom import Frame, read_frames
from lvray.cmr.pixels import overlay, pixels
from lvray.errors import Reason, StudyRefused


def images(make: Any, path: object) -> list[np.ndarray]:
    frames = read_frames([make.member(Path(str(path)).read_bytes())])
    return list(pixels(frames).values())


def frame_of(make: Any, ds: object) -> Frame:
    frame, = read_frames(make.members([ds]))
    return frame


@pytest.mark.parametrize("syntax", ["RLE", "jp2klossless", "jpeg_ls_lossless", "implicit", "bigendian", "padded"])
def test_small_mr_in_every_syntax(make: Any, syntax: str) -> None:
    name = f"MR_small_{syntax}.dcm"
    plain, = images(make, get_testdata_file("MR_small.dcm", download=False))
    other, = images(make, get_testdata_file(name, download=False))
    assert plain.dtype == np.int16
    assert plain.max() == 2145
    assert np.array_equal(plain, other)


@pytest.mark.parametrize("syntax", ["", "_RLE", "_big_endian", "_jpeg_2k_lossless", "_jpeg_ls_lossless"])
def test_enhanced_mr_in_every_syntax(make: Any, syntax: str) -> None:
    path = get_testdata_file(f"emri_small{syntax}.dcm", download=False)
    plain = get_testdata_file("emri_small.dcm", download=False)
    assert plain is not None
    assert np.array_equal(images(make, path), pixel_array(plain))


def test_a_real_slice_in_every_syntax(make: Any, sunnybrook: Path) -> None:
    plain, = images(make, sunnybrook / "dicom" / "SCD0000101" / "139.dcm")
    others = sorted((sunnybrook / "derived_transfer_syntax").glob("*.dcm"))
    assert len(others) == 7
    for path in others:
        assert np.array_equal(images(make, path)[0], plain), path.name


def test_rescale(make: Any) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    ds.RescaleSlope, ds.RescaleIntercept = 0.5, -3
    frame = frame_of(make, ds)
    image = pixels([frame])[frame]
    assert image.dtype == np.float32
    assert np.array_equal(image, ds.pixel_array * 0.5 - 3)
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    frame = frame_of(make, ds)
    assert pixels([frame])[frame].dtype == np.int16


def test_values_beyond_int16_are_kept(make: Any) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    ds.PixelData = np.full((20, 24), 60000, "<u2").tobytes()
    frame = frame_of(make, ds)
    assert (pixels([frame])[frame] == 60000).all()


def test_damaged_pixels_are_refused(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    data = bytearray(Path(str(get_testdata_file("MR_small_RLE.dcm", download=False))).read_bytes())
    data[-4000:-2000] = bytes(2000)
    with pytest.raises(StudyRefused) as refused:
        pixels(read_frames([make.member(bytes(data), 3)]))
    assert not caplog.records
    assert refused.value.reason == Reason.UNREADABLE_FILE
    assert str(refused.value).startswith("image 3 ")


def both_ways(frames: list[Frame]) -> list[np.ndarray]:
    """Their pixels, which are the same whether decoded directly or by pydicom."""
    found = list(pixel_module.pixels(frames).values())
    with pytest.MonkeyPatch.context() as without:
        without.setattr(pixel_module, "_plain", lambda data: None)
        for image, other in zip(found, pixels(frames).values(), strict=True):
            assert image.dtype == other.dtype
            assert np.array_equal(image, other)
    return found


@pytest.mark.parametrize(("stored", "signed", "low", "high", "direct"), [
    (16, 0, 0, 65535, True), (12, 0, 0, 4095, True), (12, 0, 0, 4096, False), (16, 1, -32768, 32767, True),
    (12, 1, -2048, 2047, False)])
def test_plain_pixels_are_decoded_directly(make: Any, stored: int, signed: int, low: int, high: int,
                                           direct: bool) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = stored, stored - 1, signed
    values = np.linspace(low, high, 20 * 24).astype("<i2" if signed else "<u2").reshape(20, 24)
    ds.PixelData = values.tobytes()
    assert (pixel_module._plain(make.bytes(ds)) is not None) == direct
    image, = both_ways([frame_of(make, ds)])
    if direct:
        assert np.array_equal(image, values)


@pytest.mark.parametrize("change", [
    {"RescaleSlope": 0.5, "RescaleIntercept": -3}, {"PhotometricInterpretation": "MONOCHROME1"},
    {"PixelData": bytes(962)}, {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, {"NumberOfFrames": 1},
    {"DataSetTrailingPadding": bytes(8)}])
def test_pixels_of_any_kind_are_those_of_pydicom(make: Any, change: dict[str, object]) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    for name, value in change.items():
        setattr(ds, name, value)
    both_ways([frame_of(make, ds)])


def test_a_kept_image_is_checked_against_the_zips_crc(make: Any) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("1.dcm", make.bytes(make.stack(slices=1, phases=1)[0]))
    data = bytearray(out.getvalue())
    data[data.index(b"PK\1\2") - 100] ^= 1
    frames = read_frames(zip_members(io.BytesIO(bytes(data))))
    with pytest.raises(StudyRefused, match="member 1 of the zip is damaged"):
        pixels(frames)


def test_more_images_than_memory_should_hold(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = read_frames(make.members(make.stack(slices=1, phases=3)))
    monkeypatch.setattr(pixel_module, "MAX_BYTES", 3 * 20 * 24 * 2)
    assert len(pixels(frames)) == 3
    monkeypatch.setattr(pixel_module, "MAX_BYTES", 3 * 20 * 24 * 2 - 1)
    with pytest.raises(StudyRefused) as refused:
        pixels(frames)
    assert refused.value.reason == Reason.TOO_LARGE


def test_a_file_larger_than_memory_should_hold(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = read_frames(make.members(make.stack(slices=1, phases=1)))
    monkeypatch.setattr(file, "MAX_FILE_BYTES", frames[0].member.size - 1)
    with pytest.raises(StudyRefused) as refused:
        pixels(frames)
    assert refused.value.reason == Reason.TOO_LARGE


@pytest.mark.parametrize(("name", "marker", "place"), [
    ("MR_small_jp2klossless.dcm", b"\xff\x4f\xff\x51", 8), ("MR_small_jpeg_ls_lossless.dcm", b"\xff\xf7", 5)])
def test_a_codestream_of_another_size_is_not_decoded(make: Any, monkeypatch: pytest.MonkeyPatch, name: str,
                                                    marker: bytes, place: int) -> None:
    asked: list[object] = []
    monkeypatch.setattr(pixel_module, "get_decoder", asked.append)
    data = bytearray(Path(str(get_testdata_file(name, download=False))).read_bytes())
    at = data.index(marker) + place
    data[at] = 0xEA
    with pytest.raises(StudyRefused, match="image 3 is damaged"):
        pixels(read_frames([make.member(bytes(data), 3)]))
    assert not asked


def test_overlay_bits(make: Any) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    ring = np.zeros((20, 24), bool)
    ring[0, 1] = ring[2, 23] = ring[19, 0] = True
    make.draw(ds, ring)
    assert ds[0x6000, 0x3000].value[0] == 2
    frame = frame_of(make, ds)
    assert frame.has_overlay
    assert np.array_equal(overlay(frame), ring)


@pytest.mark.parametrize(("origin", "at"), [((3, 4), (7, 9)), ((-1, 1), (3, 6)), ((18, 1), None)])
def test_an_overlay_lies_where_its_origin_says(make: Any, origin: tuple[int, int], at: tuple[int, int] | None) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    small = np.zeros((8, 10), bool)
    small[5, 6] = True
    make.draw(ds, small)
    ds[0x6000, 0x0050].value = list(origin)
    assert [tuple(p) for p in np.argwhere(overlay(frame_of(make, ds)))] == ([at] if at else [])


def test_an_empty_overlay_element_is_no_overlay(make: Any) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    make.draw(ds, np.ones((20, 24), bool))
    ds[0x6000, 0x3000].value = None
    assert not frame_of(make, ds).has_overlay


def test_an_overlay_shorter_than_its_size_is_refused(make: Any) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    make.draw(ds, np.ones((20, 24), bool))
    ds[0x6000, 0x3000].value = b"\0" * 10
    with pytest.raises(StudyRefused, match="image 1"):
        overlay(frame_of(make, ds))


def test_overlays_of_a_multi_frame_object_belong_to_their_frames(make: Any) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    ds.SOPClassUID, ds.NumberOfFrames = "1.2.840.10008.5.1.4.1.1.4.1", 4
    ds.PixelData = ds.PixelData * 4
    rings = np.zeros((2, 20, 24), bool)
    rings[0, 1, 1] = rings[1, 2, 2] = True
    make.draw(ds, rings.reshape(40, 24))
    ds[0x6000, 0x0010].value = 20
    ds.add_new((0x6000, 0x0015), "IS", 2)
    ds.add_new((0x6000, 0x0051), "US", 2)
    frames = read_frames(make.members([ds]))
    assert [f.has_overlay for f in frames] == [False, True, True, False]
    assert np.array_equal([overlay(f) for f in frames[1:3]], rings)


def test_real_overlays(make: Any, shared: Path) -> None:
    for path in sorted((shared / "dicom_samples" / "overlay").glob("*.dcm")):
        frame, = read_frames([make.member(path.read_bytes())])
        assert frame.has_overlay
        assert overlay(frame).any()


def test_a_slope_of_nothing_is_refused(make: Any) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    ds.RescaleSlope = 0
    with pytest.raises(StudyRefused, match="image 1 has a RescaleSlope of 0"):
        pixels([frame_of(make, ds)])
