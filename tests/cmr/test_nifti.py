from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from lvray.cmr.geometry import TOWARD_BASE
from lvray.cmr.nifti import read_mask, write
from lvray.errors import EnvironmentFault, Reason, StudyRefused

MASK = np.random.default_rng(0).integers(0, 3, (5, 7, 9)).astype(np.uint8)


def oblique(angle: float = 0.4) -> NDArray[np.float64]:
    x = np.cross(TOWARD_BASE, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    y = np.cross(TOWARD_BASE, x)
    c, s = np.cos(angle), np.sin(angle)
    out = np.eye(4)
    out[:3, 0], out[:3, 1], out[:3, 2] = -10 * TOWARD_BASE, 1.5 * (c * y - s * x), 2 * (c * x + s * y)
    out[:3, 3] = -80, 33, 120.5
    return out


@pytest.mark.parametrize("angle", [0, 0.4, 1.3, 3.0])
def test_a_round_trip_is_exact(tmp_path: Path, angle: float) -> None:
    file = tmp_path / "new" / "mask.nii.gz"
    write(file, MASK, oblique(angle))
    assert np.array_equal(read_mask(file, MASK.shape, oblique(angle)), MASK)


@pytest.mark.parametrize("angle", [0, 0.4, 1.3, 3.0])
def test_a_mask_that_a_viewer_turned_is_turned_back(tmp_path: Path, angle: float) -> None:
    file, turned = tmp_path / "mask.nii.gz", tmp_path / "turned.nii"
    write(file, MASK, oblique(angle))
    saved = nib.nifti1.Nifti1Image.from_filename(file)
    image = nib.as_closest_canonical(saved)
    assert image.shape != MASK.shape[::-1] or not np.allclose(image.affine, saved.affine)
    nib.save(nib.Nifti1Image(image.get_fdata(), image.affine), turned)  # in another data type, too
    assert np.array_equal(read_mask(turned, MASK.shape, oblique(angle)), MASK)


def test_voxels_lie_where_the_patient_is(tmp_path: Path) -> None:
    file = tmp_path / "mask.nii"
    write(file, MASK, oblique())
    image = nib.nifti1.Nifti1Image.from_filename(file)
    assert image.dataobj[8, 6, 4] == MASK[4, 6, 8]
    assert image.affine @ (8, 6, 4, 1) * (-1, -1, 1, 1) == pytest.approx(oblique() @ (4, 6, 8, 1), abs=1e-4)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_the_same_mask_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / name / "mask.nii.gz", MASK, oblique())
    assert (tmp_path / "a" / "mask.nii.gz").read_bytes() == (tmp_path / "b" / "mask.nii.gz").read_bytes()


def refusal(file: Path, shape: tuple[int, int, int] = (5, 7, 9), affine: Any = None) -> Reason:
    with pytest.raises(StudyRefused) as refused:
        read_mask(file, shape, oblique() if affine is None else affine)
    assert file.name not in str(refused.value)
    return refused.value.reason


def test_masks_that_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret.nii.gz"
    assert refusal(file) == Reason.UNREADABLE_FILE
    write(file, MASK, oblique())
    assert refusal(file, shape=(5, 7, 8)) == Reason.MASK_MISMATCH
    elsewhere, wider = oblique(), oblique()
    elsewhere[0, 3] += 0.5
    wider[:3, 2] *= 1.02
    assert {refusal(file, affine=a) for a in (elsewhere, wider, oblique(0.41))} == {Reason.MASK_MISMATCH}
    write(file, MASK + 1, oblique())
    assert refusal(file) == Reason.MASK_MISMATCH
    file.write_bytes(file.read_bytes()[:60])
    assert refusal(file) == Reason.UNREADABLE_FILE


def test_a_mask_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for file in (tmp_path / "mask.png", tmp_path / "file" / "mask.nii.gz"):
        with pytest.raises(EnvironmentFault):
            write(file, MASK, oblique())
