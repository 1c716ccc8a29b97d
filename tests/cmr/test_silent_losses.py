"""What must never shrink or swell a mass without a word: damaged files, lost series, mixed examinations, odd values."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import RLELossless, generate_uid

from lvray.cmr.quality import Flag
from lvray.cmr.study import Cine
from lvray.errors import Reason, StudyRefused
from lvray.estimate import measure_contours, measure_overlays
from lvray.settings import Quality


def refusal(make: Any, images: Sequence[Dataset | bytes]) -> Reason:
    with pytest.raises(StudyRefused) as refused:
        measure_overlays(make.cine(images))
    return refused.value.reason


def outlined(make: Any, slices: int = 7) -> list[Dataset]:
    images: list[Dataset] = make.stack(slices=slices, phases=1, shape=(32, 32))
    for ds in images[1:-1]:
        make.draw(ds, make.square((32, 32), 6, 26) | make.square((32, 32), 11, 21))
    return images


@pytest.mark.parametrize("lost", range(1, 10))
def test_a_compressed_file_cut_by_a_few_bytes(make: Any, lost: int) -> None:
    images = outlined(make)
    for ds in images:
        ds.compress(RLELossless)
    files: list[Dataset | bytes] = [make.bytes(ds) for ds in images]
    assert measure_overlays(make.cine(files)).slices == 5
    assert refusal(make, [*files[:2], make.bytes(images[2])[:-lost], *files[3:]]) == Reason.UNREADABLE_FILE


@pytest.mark.parametrize("data", [b"", bytes(1), bytes(131)])
def test_an_empty_file_among_images(make: Any, data: bytes) -> None:
    assert refusal(make, [*outlined(make)[1:], data]) == Reason.UNREADABLE_FILE


def test_a_slice_that_only_the_outlines_have(make: Any) -> None:
    images = outlined(make)
    drawn = copy.deepcopy(images)
    series = generate_uid()
    for ds in drawn:
        ds.SeriesInstanceUID, ds.SOPInstanceUID, ds.SeriesDescription = series, generate_uid(), "SAX_InlineVF"
    assert measure_overlays(make.cine([*images, *drawn])).slices == 5
    assert refusal(make, [*images[2:], *drawn]) == Reason.MISSING_SLICE


@pytest.mark.parametrize("tag", ["PatientName", "PatientBirthDate", "StudyInstanceUID"])
def test_two_examinations_under_one_id(make: Any, tag: str) -> None:
    images = outlined(make)
    values = {"PatientName": "A^B", "PatientBirthDate": "19500101", "StudyInstanceUID": "1.2.3"}
    for ds in images:
        setattr(ds, tag, values[tag])
    assert measure_overlays(make.cine(images)).slices == 5
    setattr(images[0], tag, {"PatientName": "C^D", "PatientBirthDate": "19600101", "StudyInstanceUID": "1.2.4"}[tag])
    assert refusal(make, images) == Reason.SEVERAL_PATIENTS


@pytest.mark.parametrize(("spacing", "fine"), [(0.19, False), (0.21, True), (4.9, True), (5.1, False)])
def test_pixel_sizes_of_a_heart(make: Any, spacing: float, fine: bool) -> None:
    images = make.stack(spacing=(spacing, spacing))
    if fine:
        assert make.cine(images).spacing[1:] == (spacing, spacing)
    else:
        assert refusal(make, images) == Reason.BAD_SPACING


def test_positions_beyond_any_scanner(make: Any) -> None:
    images = make.stack()
    images[0].ImagePositionPatient = [1e30, 0, 0]
    assert refusal(make, images) == Reason.BAD_GEOMETRY


def test_values_that_are_no_numbers(make: Any) -> None:
    images = make.stack()
    images[0].RescaleSlope, images[0].RescaleIntercept = "1e300", "0"
    with pytest.raises(StudyRefused, match="no numbers") as refused:
        make.cine(images).volume(0)
    assert refused.value.reason == Reason.UNREADABLE_FILE


@pytest.mark.parametrize(("gap", "fine"), [(14.9, True), (15.2, False)])
def test_a_gap_beside_the_smallest(make: Any, gap: float, fine: bool) -> None:
    images = make.stack(phases=1)
    step = np.subtract(images[1].ImagePositionPatient, images[0].ImagePositionPatient) / 10
    images[3].ImagePositionPatient = [round(float(v), 6) for v in images[2].ImagePositionPatient + gap * step]
    if fine:
        assert Flag.UNEVEN_PITCH in make.cine(images).flags
    else:
        assert refusal(make, images) == Reason.MISSING_SLICE


def test_a_stack_of_every_second_slice_is_flagged(make: Any) -> None:
    assert Flag.WIDE_PITCH in make.cine(make.stack(pitch=20.0)).flags
    assert Flag.WIDE_PITCH not in make.cine(make.stack(pitch=10.0)).flags
    assert Flag.WIDE_PITCH not in make.cine(make.stack(pitch=20.0), Quality(wide_pitch_mm=25.0)).flags


def test_a_heart_at_the_end_of_the_stack_is_flagged(make: Any) -> None:
    images = outlined(make)
    assert Flag.MASK_AT_END not in measure_overlays(make.cine(images)).quality
    assert Flag.MASK_AT_END in measure_overlays(make.cine(images[1:])).quality


def test_another_patients_contours_are_flagged(real: Callable[[str], Cine], sunnybrook: Path) -> None:
    cine = real("SCD0000101")
    assert Flag.OUTLINES_OFF_HEART not in measure_contours(cine, sunnybrook / "contours" / "SC-HF-I-1").quality
    assert Flag.OUTLINES_OFF_HEART in measure_contours(cine, sunnybrook / "contours" / "SC-HF-I-2").quality
