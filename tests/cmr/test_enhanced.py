"""Legacy Converted Enhanced MR, made by highdicom from the classic images, reads as the classic images do."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from highdicom.legacy import LegacyConvertedEnhancedMRImage
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from lvray.cmr.measure import measure, overlay_outlines, text_outlines
from lvray.cmr.study import Cine, read_cine

Split = Callable[[Sequence[Dataset], int], Iterable[Sequence[Dataset]]]
SPLITS: dict[str, Split] = {
    "one object": lambda images, _: [images],
    "an object a phase": lambda images, phases: [images[p::phases] for p in range(phases)],
    "an object a slice": lambda images, phases: [images[i:i + phases] for i in range(0, len(images), phases)],
    "an object an image": lambda images, _: [[ds] for ds in images],
}


def converted(groups: Iterable[Sequence[Dataset]], one_series: bool = True) -> list[bytes]:
    """The files of one object for each group. highdicom asks for one frame of reference and for whole dates."""
    frame_of_reference, series, files = generate_uid(), generate_uid(), []
    for number, images in enumerate(groups, 1):
        for ds in images:
            ds.FrameOfReferenceUID = frame_of_reference
            ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "A^B", "", ""
            ds.StudyID = ds.AccessionNumber = ds.ReferringPhysicianName = ds.Manufacturer = ""
            ds.pop("PerFrameFunctionalGroupsSequence", None)
            for name in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
                setattr(ds, name, "20120101")
        enhanced = LegacyConvertedEnhancedMRImage(
            images, series if one_series else generate_uid(), number, generate_uid(), number,
            transfer_syntax_uid=images[0].file_meta.TransferSyntaxUID)
        out = io.BytesIO()
        enhanced.save_as(out)
        files.append(out.getvalue())
    return files


def images_of(cine: Cine) -> np.ndarray:
    return np.stack([v.image for v in cine.volumes(range(cine.phases)).values()])


@pytest.mark.parametrize("one_series", [True, False])
@pytest.mark.parametrize("split", SPLITS)
def test_a_synthetic_cine(make: Any, split: str, one_series: bool) -> None:
    images = make.stack()
    for ds in images:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    classic = make.cine(images)
    cine = make.cine(converted(SPLITS[split](images, 3), one_series))
    assert cine.spacing == pytest.approx(classic.spacing)
    assert np.allclose(cine.affine, classic.affine)
    assert np.array_equal(images_of(cine), images_of(classic))
    assert [[f.instance for f in row if f] for row in cine.frames] == [[f.instance for f in row if f]
                                                                      for row in classic.frames]
    assert cine.flags == ()
    assert not overlay_outlines(cine)


def test_an_object_is_read_once_for_all_phases(make: Any) -> None:
    images = make.stack()
    for ds in images:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    data, = converted([images])
    opened: list[int] = []

    def counted() -> io.BytesIO:
        opened.append(1)
        return io.BytesIO(data)

    cine = read_cine([type(make.member(b""))(1, len(data), counted)])
    opened.clear()
    images_of(cine)
    assert len(opened) == 1


def test_a_real_cine(real: Callable[[str], Cine], sunnybrook: Path, make: Any) -> None:
    classic = real("SCD0000101")
    images = [pydicom.dcmread(p) for p in sorted((sunnybrook / "dicom" / "SCD0000101").glob("*.dcm"))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # leading zeros in UIDs
        files = converted([images])
    cine = make.cine(files)
    assert cine.spacing == pytest.approx(classic.spacing)
    assert np.allclose(cine.affine, classic.affine)
    contours = sunnybrook / "contours" / "SC-HF-I-1"
    found, expected = (measure(c, text_outlines(c, contours)) for c in (cine, classic))
    assert (found.mass_g, found.phase, found.slices) == (expected.mass_g, expected.phase, expected.slices)
    assert np.array_equal(cine.volume(18).image, classic.volume(18).image)
