"""scripts/weights: what makes lvray's own weights, and what judges them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from lvray.cmr.mass import grams
from lvray.evidence.conformal import Intervals
from lvray.nets.trained import Drawn
from lvray.shards import parts
from lvray.shards.dataset import open_dataset, select
from lvray.shards.stream import scan
from scripts.weights import judge, mixed
from scripts.weights.intervals import holds
from scripts.weights.patients import Patient
from scripts.weights.turn import turned

SPACING = (10.0, 1.5, 1.5)


def ring(slices: int, outer: int = 12) -> np.ndarray:
    """A cavity of radius 8 pixels in a wall up to `outer`, in each of the slices [Z, 64, 64]."""
    r = np.hypot(*np.mgrid[-32:32, -32:32])
    mask: np.ndarray = np.where(r < 8, 1, np.where(r < outer, 2, 0)).astype(np.uint8)
    return np.stack([mask] * slices)


def patient(slices: int) -> Patient:
    mask = ring(slices)
    return Patient("SCD", "normal", (mask * 100).astype(np.int16), SPACING, np.diag([*SPACING, 1.0]), (32.0, 32.0),
                   mask, np.arange(slices), None)


def test_a_mask_that_is_the_experts_has_no_error() -> None:
    case = judge.judged("a", Drawn(ring(6), 0.95), ring(6), SPACING)
    assert (case.cavity, case.wall, case.error, case.error_all, case.flagged) == (1, 1, 0, 0, False)


def test_errors_are_of_the_experts_slices_and_of_all() -> None:
    """The expert's wall in 6 of 9 slices; the network's in all, thicker in the last three of the expert's."""
    expert = np.concatenate([ring(6), 0 * ring(3)])
    drawn = np.concatenate([ring(3), ring(3, outer=14), ring(3)])
    thin, thick = ((ring(1, outer) == 2).sum() for outer in (12, 14))
    case = judge.judged("a", Drawn(drawn, 0.5), expert, SPACING)
    assert case.error == pytest.approx((thick / thin - 1) / 2)
    assert case.error_all == pytest.approx((thick / thin - 1) / 2 + 0.5)
    assert (case.wall_base, case.cavity, case.flagged) == (1, 1, True)
    assert case.wall_apex == pytest.approx(2 * thin / (thin + thick))
    found = judge.summary([case, judge.judged("b", Drawn(ring(6)), ring(6), SPACING)])
    assert (found["n"], found["flagged"], found["mass_error"]["beyond_25"]) == (2, 1, 1)


def test_of_a_stack_taller_than_the_box_each_copy_has_another_part() -> None:
    tall = patient(14)
    tall.image[0] += 1
    rows = list(mixed._rows(tall))
    assert len(rows) == mixed.COPIES
    assert {row.image.shape for row in rows} == {(13, 64, 64)}
    assert len({row.image.tobytes() for row in rows}) == 2
    assert len({row.participant for row in rows}) == 1
    assert len({row.study for row in rows}) == mixed.COPIES


def test_patients_among_hearts_are_written_once_and_after_a_kill(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed, "GENERATED", 2)
    (tmp_path / "shards" / parts.FOLDER).mkdir(parents=True)
    mixed.write(tmp_path / "shards", [patient(6)])
    dataset = open_dataset(str(tmp_path / "shards"))
    assert dataset.index.num_rows == mixed.COPIES + 2
    real = [row for _, row in scan(dataset, select(dataset, ["train"])) if not row.flags]
    assert len(real) == mixed.COPIES
    assert not (tmp_path / "shards" / parts.FOLDER).exists()
    mixed.write(tmp_path / "shards", [])
    assert open_dataset(str(tmp_path / "shards")).checksum == dataset.checksum


@pytest.mark.parametrize(("error", "inside"), [(0.0, True), (0.1, True), (-0.1, True), (0.3, False), (-0.3, False)])
def test_an_interval_holds_the_mass_or_not(error: float, inside: bool) -> None:
    mass = grams(ring(6), SPACING)
    intervals = Intervals("ML4Hseg", "phantom", "", 0.9, 60, 0.2 * mass, {}, {}, None, "")
    assert holds(intervals, patient(6), error) == inside


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 33, -140])
def test_a_turned_file_has_each_point_of_the_patient_where_it_was(degrees: float, mirror: bool) -> None:
    """A bright spot in a picture of more columns than rows."""
    ds = pydicom.dcmread(str(get_testdata_file("MR_small.dcm")))
    picture = np.zeros((40, 64), ds.pixel_array.dtype)
    picture[9:12, 49:52] = 1000
    ds.set_pixel_data(picture, ds.PhotometricInterpretation, ds.BitsStored)
    before = io.BytesIO()
    ds.save_as(before)
    moved = pydicom.dcmread(io.BytesIO(turned(before.getvalue(), degrees, mirror)))
    np.testing.assert_allclose(where(moved), where(ds), atol=0.02)
    right, down = np.array(moved.ImageOrientationPatient, float).reshape(2, 3)
    assert right @ down == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm([right, down], axis=1) == pytest.approx(1)


def where(ds: pydicom.Dataset) -> np.ndarray:
    """The middle of what is bright, in mm in the patient (PS3.3, C.7.6.2.1.1)."""
    pixels = ds.pixel_array.astype(float)
    row, column = (np.sum(np.indices(pixels.shape)[axis] * pixels) / pixels.sum() for axis in (0, 1))
    right, down = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)
    dy, dx = map(float, ds.PixelSpacing)
    at: np.ndarray = np.array(ds.ImagePositionPatient, float) + column * dx * right + row * dy * down
    return at
