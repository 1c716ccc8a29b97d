"""Headers to frames, and which files are refused."""

from __future__ import annotations

import contextlib
import io
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.data.data_manager import DATA_ROOT
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage

from lvray.cmr import dicom, file
from lvray.cmr.archive import Member
from lvray.cmr.dicom import read_frames
from lvray.cmr.header import file_meta
from lvray.cmr.pixels import pixels
from lvray.errors import EnvironmentFault, Reason, StudyRefused


def sample(name: str) -> bytes:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str), name
    return Path(path).read_bytes()


def refusal(make: Any, data: bytes, dicom_name: bool = False) -> Reason:
    with pytest.raises(StudyRefused) as refused:
        read_frames([make.member(data, 7, dicom_name)])
    if refused.value.reason == Reason.UNREADABLE_FILE:
        assert "image 7 " in str(refused.value)
    return refused.value.reason


def test_what_a_frame_says(make: Any) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    ds.PatientSize, ds.PatientWeight, ds.PatientSex = 1.8, 75, "M"
    frame, = read_frames(make.members([ds]))
    assert frame.shape == (20, 24)
    assert frame.spacing == (1.5, 2.0)
    assert frame.position == (0.0, 0.0, 0.0)
    assert frame.orientation == (0.8, 0.6, 0.0, -0.36, 0.48, -0.8)
    assert (frame.instance, frame.trigger, frame.interval) == (1, 0.0, 40.0)
    assert frame.person == (180.0, 75.0, "M")
    assert not frame.has_overlay


@pytest.mark.parametrize(("name", "value", "attribute"), [
    ("PixelSpacing", [0, 1], "spacing"), ("PixelSpacing", None, "spacing"), ("PixelSpacing", [-1, 1], "spacing"),
    ("ImagePositionPatient", None, "position"), ("ImageOrientationPatient", None, "orientation"),
    ("ImageOrientationPatient", [0] * 6, "orientation"), ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0], "orientation"),
    ("TriggerTime", None, "trigger"), ("PatientSize", None, "person")])
def test_what_is_absent_or_senseless_is_none(make: Any, name: str, value: object, attribute: str) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    setattr(ds, name, value)
    frame, = read_frames(make.members([ds]))
    assert getattr(frame, attribute) in (None, (None, None, None))


@pytest.mark.parametrize("value", [b"170 cm", b"nan ", b"1\\2 "])
def test_a_height_that_is_no_number_does_not_cost_the_study(make: Any, value: bytes) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    ds.PatientSize = "170000"
    frame, = read_frames(make.members([make.bytes(ds).replace(b"170000", value.ljust(6))]))
    assert frame.person == (None, None, None)


def test_an_empty_functional_groups_sequence_does_not_make_an_enhanced_object(make: Any) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    ds.PerFrameFunctionalGroupsSequence = [Dataset()]
    frame, = read_frames(make.members([ds]))
    assert frame.spacing == (1.5, 2.0)


def test_enhanced_frames_without_functional_groups_have_no_place(make: Any) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    ds.SOPClassUID, ds.NumberOfFrames = EnhancedMRImageStorage, 1
    frame, = read_frames(make.members([ds]))
    assert (frame.position, frame.spacing) == (None, None)


def test_other_files_and_other_objects_are_left_out(make: Any) -> None:
    image = make.bytes(make.stack(slices=1, phases=1)[0])
    others = [sample("CT_small.dcm"), sample("DICOMDIR"), b"filename,date\n", b"\x89PNG" * 50, bytes(200)]
    assert len(read_frames(make.members([image, *others]))) == 1


def test_a_file_without_preamble_is_read(make: Any) -> None:
    data = sample("ExplVR_LitEndNoMeta.dcm")
    assert read_frames(make.members([data])) == []  # an RT plan
    image = make.stack(slices=1, phases=1)[0]
    whole = make.bytes(image)
    bare = whole[whole.index(b"\x08\0\x16\0UI"):]
    assert len(read_frames(make.members([bare]))) == 1
    assert refusal(make, bare[:-1]) == Reason.UNREADABLE_FILE


def test_no_dicom(make: Any) -> None:
    with pytest.raises(StudyRefused) as refused:
        read_frames([])
    assert refused.value.reason == Reason.NO_DICOM
    assert refusal(make, b"a note\n" * 40) == Reason.NO_DICOM
    assert refusal(make, b"a note\n" * 40, dicom_name=True) == Reason.UNREADABLE_FILE


@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm",
                                  "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm", "emri_small.dcm",
                                  "emri_small_RLE.dcm"])
def test_a_file_cut_short_anywhere_is_refused(make: Any, name: str) -> None:
    data = sample(name)
    end = max(data.rfind(b"\xfe\xff\xdd\xe0"), len(data) - 400)  # what follows the pixels may be lost
    assert read_frames([make.member(data)])
    for length in [*range(140, end, max(end // 40, 1)), end - 1]:
        assert refusal(make, data[:length]) == Reason.UNREADABLE_FILE


def test_a_deflated_file_cut_short_is_refused(make: Any, sunnybrook: Path) -> None:
    data = (sunnybrook / "derived_transfer_syntax" / "139_deflated.dcm").read_bytes()
    assert refusal(make, data[:len(data) // 2]) == Reason.UNREADABLE_FILE


def deflated(data: bytes, more: bytes = b"") -> bytes:
    """An explicit little endian file with its data set deflated, and `more` behind it."""
    _, at = file_meta(data)
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    plain = b"UI\x14\0" + b"1.2.840.10008.1.2.1\0"
    assert plain in data[:at]
    head = data[:at].replace(plain, b"UI\x16\0" + b"1.2.840.10008.1.2.1.99")
    return head + deflate.compress(data[at:] + more) + deflate.flush()


def test_a_deflated_file_inflates_within_bounds(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make.bytes(make.stack(slices=1, phases=1)[0])
    plain, frame = (read_frames([make.member(d)])[0] for d in (data, deflated(data)))
    assert frame.uid == plain.uid
    assert np.array_equal(pixels([frame])[frame], pixels([plain])[plain])
    assert read_frames([make.member(deflated(data, bytes(10_000)))])
    monkeypatch.setattr(file, "MAX_FILE_BYTES", 10_000)
    assert refusal(make, deflated(data, bytes(10_000))) == Reason.UNREADABLE_FILE
    assert refusal(make, deflated(data)[:-20]) == Reason.UNREADABLE_FILE
    assert refusal(make, deflated(data).replace(b"\2\0\0\0UL", b"\2\0\1\0UL")) == Reason.UNREADABLE_FILE


@pytest.mark.parametrize("multiframe", [False, True])
@pytest.mark.parametrize("shape", [(4097, 1), (1, 65535), (0, 5)])
def test_an_absurd_matrix_is_refused(make: Any, shape: tuple[int, int], multiframe: bool) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    ds.Rows, ds.Columns = shape
    ds.PixelData = bytes(2 * shape[0] * shape[1])
    if multiframe:
        ds.SOPClassUID, ds.NumberOfFrames = EnhancedMRImageStorage, 1
    with pytest.raises(StudyRefused, match=f"image 7 claims {shape[0]} x {shape[1]} pixels"):
        read_frames([make.member(make.bytes(ds), 7)])


def test_an_absurd_number_of_frames_is_refused(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = make.stack(slices=1, phases=1)[0]
    ds.SOPClassUID, ds.NumberOfFrames = EnhancedMRImageStorage, 1_000_000_000
    assert refusal(make, make.bytes(ds)) == Reason.TOO_LARGE
    members = make.members(make.stack(slices=2, phases=2))
    monkeypatch.setattr(dicom, "MAX_FRAMES", 4)
    assert len(read_frames(members)) == 4
    monkeypatch.setattr(dicom, "MAX_FRAMES", 3)
    with pytest.raises(StudyRefused, match="more than 3 MR images"):
        read_frames(members)


def test_what_pydicom_would_make_too_much_of_is_refused(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom, "read_header", lambda head: None)
    ds = make.stack(slices=1, phases=1)[0]
    ds.ReferencedImageSequence = [Dataset() for _ in range(50)]
    ds.add_new(0x50110010, "LO", "private")
    ds.add_new(0x50111010, "UN", bytes(3000))
    data, padding = make.bytes(ds), b"\xfc\xff\xfc\xffOB\0\0" + (9000).to_bytes(4, "little") + bytes(9000)
    private = data.index(bytes(3000))
    monkeypatch.setattr(file, "MAX_ITEMS", 50)
    monkeypatch.setattr(file, "MAX_HEADER_BYTES", len(padding))
    assert read_frames([make.member(data + padding)])
    monkeypatch.setattr(file, "MAX_ITEMS", 49)
    assert refusal(make, data) == Reason.UNREADABLE_FILE
    monkeypatch.setattr(file, "MAX_ITEMS", 50)
    monkeypatch.setattr(file, "MAX_HEADER_BYTES", len(padding) - 1)
    assert read_frames([make.member(data)])
    assert refusal(make, data + padding) == Reason.UNREADABLE_FILE
    monkeypatch.setattr(file, "MAX_HEADER_BYTES", private + 1000)
    assert refusal(make, data) == Reason.UNREADABLE_FILE


def test_other_objects_are_not_read_beyond_their_class(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make.bytes(make.stack(slices=1, phases=1)[0])
    monkeypatch.setattr(file, "MAX_HEADER_BYTES", len(image))
    assert len(read_frames([make.member(image), make.member(sample("CT_small.dcm")[:3000], 2, True)])) == 1


def test_a_disk_that_fails_is_the_environments_fault() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(EnvironmentFault, match="Input/output error"):
        read_frames([Member(1, 1000, Failing)])


@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_RLE.dcm", "emri_small_jpeg_ls_lossless.dcm"])
def test_damage_never_ends_in_a_traceback(make: Any, name: str) -> None:
    r, good = random.Random(0), sample(name)
    for _ in range(150):
        data = bytearray(good)
        for _ in range(4):
            data[r.randrange(132, len(data) if r.random() < 0.3 else 2000)] = r.randrange(256)
        with contextlib.suppress(StudyRefused):
            pixels(read_frames([make.member(bytes(data))])[:1])


def test_every_sample_of_pydicom_is_read_or_refused(make: Any) -> None:
    for path in sorted(Path(DATA_ROOT, "test_files").glob("*.dcm")):
        try:
            frames = read_frames([make.member(path.read_bytes())])
        except StudyRefused:
            continue
        assert all(len(f.shape) == 2 for f in frames)
