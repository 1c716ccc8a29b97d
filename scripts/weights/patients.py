"""The Sunnybrook patients whose wall an expert outlined at end diastole, as a network sees them."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.io import imread

from lvray.cmr.archive import folder_members
from lvray.cmr.contours import Outline, polygon_shares
from lvray.cmr.ed import end_diastole
from lvray.cmr.geometry import canonical
from lvray.cmr.heart import find_heart
from lvray.cmr.measure import measure, text_outlines
from lvray.cmr.study import read_cine

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "sunnybrook"
PHASES = 20


@dataclass(frozen=True)
class Patient:
    """image [Z, Y, X] at ED, base first; spacing (dz, dy, dx) in mm; affine: as in a shard's row, without a direction
    where none is known; mask: the expert's, uint8 [Z, Y, X], in the slices that `outlined` counts; grams: the expert's,
    None where the spacing is only assumed."""

    name: str
    pathology: str
    image: NDArray[Any]
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    centre_yx: tuple[float, float] | None
    mask: NDArray[np.uint8]
    outlined: NDArray[np.intp]
    grams: float | None


def patients() -> Iterator[Patient]:
    """All with an epicardium."""
    with (FOLDER / "labels.csv").open() as table:
        for row in csv.DictReader(table):
            if row["lvm_g"]:
                yield _of_dicom(row) if row["images"] == "dicom" else _of_pictures(row)


def _of_dicom(row: dict[str, str]) -> Patient:
    """With its geometry, in the canonical orientation, at the expert's ED; of SCD0000101 all slices."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # UIDs with leading zeros
        cine = read_cine(folder_members(FOLDER / "dicom" / row["cap_id"]))
        expert = measure(cine, text_outlines(cine, FOLDER / "contours" / row["original_id"]))
        seen = end_diastole(cine, expert.phase).canonical()
    mask = canonical(cine.affine).apply(expert.mask)
    return Patient(row["cap_id"], row["pathology"], seen.volume.image, seen.volume.spacing, seen.volume.affine,
                   seen.centre_yx, mask, np.flatnonzero(mask.any((1, 2))), expert.mass_g)


def _of_pictures(row: dict[str, str]) -> Patient:
    """8-bit pictures of the outlined frames, as they lie: neither orientation nor spacing is known. The heart is found
    in the slices that have ED and ES."""
    folder, pixel = FOLDER / "png8" / row["original_id"], float(row["pixel_mm"])
    ed, es = ({(n - 1) // PHASES: n for n in map(int, row[f"{when}_instances"].split())} for when in ("ed", "es"))
    image = np.stack([_picture(folder, n) for n in ed.values()])
    beat = np.stack([[_picture(folder, times[z]) for z in ed if z in es] for times in (ed, es)])
    mask = np.stack([_outline(folder, n, image.shape[1:]) for n in ed.values()])
    spacing = (float(row["slice_step_mm"]), pixel, pixel)
    return Patient(row["original_id"], row["pathology"], image, spacing, np.diag([*spacing, 1.0]),
                   find_heart(beat, (pixel, pixel)).centre_yx, mask, np.flatnonzero(mask.any((1, 2))), None)


def _picture(folder: Path, instance: int) -> NDArray[Any]:
    read = imread(folder / f"{folder.name}-IM-0001-{instance:04d}.dcm.png")
    picture: NDArray[Any] = read if read.ndim == 2 else read[..., 0]
    return picture


def _outline(folder: Path, instance: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Contours are 1-based (the data set's README)."""
    files = [folder / f"IM-0001-{instance:04d}-{side}contour-manual.txt" for side in "io"]
    rows, columns = shape
    endo, epi = (polygon_shares(np.loadtxt(file) - 1, (rows, columns)) if file.exists() else None for file in files)
    return Outline(endo, epi).labels((rows, columns))
