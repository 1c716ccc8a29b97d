"""Masks to and from NIfTI-1, so that a viewer can show and edit them. NIfTI counts in RAS, DICOM in LPS."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform
from numpy.typing import NDArray

from lvray.errors import EnvironmentFault, Reason, StudyRefused

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SAME_PLACE_MM = 0.1
"""NIfTI keeps affines in float32; corners must agree to this."""


def write(file: Path, volume: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """A mask, or an image: [Z, Y, X]; affine: index (z, y, x, 1) to patient LPS mm. EnvironmentFault: cannot be
    written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        nib.save(_image(volume, affine), file)
    except (OSError, nib.filebasedimages.ImageFileError) as e:
        raise EnvironmentFault("cannot write the NIfTI file: give a writable name that ends in .nii.gz") from e


def mask_bytes(mask: NDArray[np.uint8], affine: NDArray[np.float64]) -> bytes:
    """The same as the bytes of a .nii.gz."""
    return gzip.compress(_image(mask, affine).to_bytes(), compresslevel=1, mtime=0)


def read_mask(file: Path, shape: tuple[int, int, int], affine: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A mask of the study with this shape [Z, Y, X] and affine; axes that a viewer turned are turned back.

    StudyRefused: unreadable, another study's grid, or labels other than 0, 1 and 2.
    """
    try:
        image = nib.nifti1.Nifti1Image.from_filename(file)
        data = np.asanyarray(image.dataobj)
        turn = ornt_transform(io_orientation(image.affine), io_orientation(_ras(affine)))
        mask = apply_orientation(data, turn).transpose(2, 1, 0)
        place = image.affine @ nib.orientations.inv_ornt_aff(turn, data.shape)
    except Exception as e:  # nibabel and gzip raise whatever the damaged bytes lead to
        raise StudyRefused(Reason.UNREADABLE_FILE, "the mask is not a NIfTI file that can be read") from e
    if mask.shape != shape:
        has, wanted = (" x ".join(map(str, one)) for one in (mask.shape, shape))
        raise StudyRefused(Reason.MASK_MISMATCH, f"the mask has {has} voxels (slices, rows, columns), the study"
                           f" {wanted}: cut out, or another study's?")
    corners = np.array([(x, y, z, 1) for x in (0, shape[2]) for y in (0, shape[1]) for z in (0, shape[0])])
    if np.abs(corners @ (place - _ras(affine)).T).max() > SAME_PLACE_MM:
        raise StudyRefused(Reason.MASK_MISMATCH, "the mask lies elsewhere in space than the study: another study's?")
    if not np.isin(mask, (0, 1, 2)).all():
        raise StudyRefused(Reason.MASK_MISMATCH, "the mask has labels besides 0, 1 (cavity) and 2 (myocardium)")
    return np.ascontiguousarray(mask.astype(np.uint8))


def _image(mask: NDArray[Any], affine: NDArray[np.float64]) -> nib.nifti1.Nifti1Image:
    image = nib.Nifti1Image(mask.transpose(2, 1, 0), _ras(affine))
    image.header.set_xyzt_units("mm")
    return image


def _ras(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine from (x, y, z, 1) to RAS."""
    return LPS_TO_RAS @ affine[:, [2, 1, 0, 3]]
