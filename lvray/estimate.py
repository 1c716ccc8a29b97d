"""One study to one estimate: measured from outlines that exist, or predicted by a network.

The commands, the cohort job and the service all answer with it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import lvray
from lvray.cmr.ed import end_diastole, off_heart
from lvray.cmr.geometry import canonical
from lvray.cmr.mass import MYOCARDIUM, Spacing, cavity_ml, grams
from lvray.cmr.measure import Measurement, measure, overlay_outlines, text_outlines
from lvray.cmr.nifti import read_mask
from lvray.cmr.quality import Flag, mask_flags
from lvray.cmr.study import Cine
from lvray.errors import Reason, StudyRefused
from lvray.evidence.indices import lvmi
from lvray.nets.predict import Predictor

Method = Literal["overlay", "contours", "mask", "ML4Hseg", "ML4Hreg"]


@dataclass(frozen=True)
class Estimate:
    """LV mass of one study and what it rests on. None: not known.

    ed_phase counts from 1 among the phases present; ed_instances are the InstanceNumbers of the images that the mass
    comes from, base to apex. mask: uint8 [Z, Y, X] at ED in the study's own grid (`affine`), where there is one.
    """

    method: Method
    mass_g: float | None
    lvmi_g_m2: float | None
    ed_phase: int
    ed_instances: list[int]
    spacing_mm: Spacing
    slices: int
    edv_ml: float | None
    esv_ml: float | None
    ef: float | None
    quality: list[str]
    network: dict[str, str] | None
    versions: dict[str, str]
    mask: NDArray[np.uint8] | None = field(repr=False)
    affine: NDArray[np.float64] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in ("mask", "affine")}


def measure_overlays(cine: Cine) -> Estimate:
    """From the overlays inside the DICOM (InlineVF)."""
    return _measured(cine, "overlay", measure(cine, overlay_outlines(cine)))


def measure_contours(cine: Cine, folder: Path) -> Estimate:
    """From text contours (Sunnybrook's format)."""
    return _measured(cine, "contours", measure(cine, text_outlines(cine, folder)))


def measure_mask(cine: Cine, file: Path) -> Estimate:
    """From a NIfTI mask in the study's grid, at the ED that `predict` finds. StudyRefused: see read_mask; no wall."""
    mask = read_mask(file, cine.shape, cine.affine)
    if not (mask == MYOCARDIUM).any():
        raise StudyRefused(Reason.NO_OUTLINES, "the mask holds no myocardium (label 2)")
    ed = end_diastole(cine)
    return _from_mask(cine, "mask", ed.volume.phase, mask, ed.flags)


def predict(cine: Cine, predictor: Predictor) -> Estimate:
    """By a network. StudyRefused: no heart in the mask, or more slices than a regressor takes."""
    ed = end_diastole(cine)
    seen = ed.canonical()
    image, spacing, centre, phase = seen.volume.image, seen.volume.spacing, seen.centre_yx, ed.volume.phase
    network = {"kind": predictor.network["kind"], "recipe": predictor.checkpoint.settings["name"],
               "weights": predictor.weights_sha256[:16]}
    flags = ed.flags | _outside_training(predictor, spacing, cine.slices)
    if network["kind"] == "reg":
        mass = predictor.regress(image, spacing, centre)
        flags |= _outside(predictor, Flag.MASS_OUTSIDE_TRAINING, mass_g=mass)
        return _estimate(cine, "ML4Hreg", phase, range(cine.slices), mass, flags, network=network)
    mask = predictor.segment(image, spacing, centre)
    if not (mask == MYOCARDIUM).any():
        raise StudyRefused(Reason.NO_HEART, "the network found no myocardium in any slice")
    flags |= _outside(predictor, Flag.MASS_OUTSIDE_TRAINING, mass_g=grams(mask, spacing))
    if predictor.at_border(mask, centre):
        flags |= {Flag.MASK_AT_BORDER}
    return _from_mask(cine, "ML4Hseg", phase, canonical(ed.volume.affine).undo(mask), flags, network)


def _outside_training(predictor: Predictor, spacing: Spacing, slices: int) -> set[Flag]:
    dz, dy, dx = spacing
    return (_outside(predictor, Flag.SPACING_OUTSIDE_TRAINING, dz_mm=dz, dy_mm=dy, dx_mm=dx)
            | _outside(predictor, Flag.SLICES_OUTSIDE_TRAINING, slices=slices)
            | ({Flag.DEMO_WEIGHTS} if predictor.checkpoint.settings["for_show"] else set()))


def _outside(predictor: Predictor, flag: Flag, **facts: float) -> set[Flag]:
    return {flag} if predictor.outside_training(**facts) else set()


def _measured(cine: Cine, method: Method, m: Measurement) -> Estimate:
    """A measurement, and whether it lies on the heart where the images show its motion."""
    moves = cine.phases > 1 and cine.complete(m.phase)
    flags = {Flag.OUTLINES_OFF_HEART} if moves and off_heart(m.mask, end_diastole(cine, m.phase)) else set()
    return _estimate(cine, method, m.phase, m.slices, m.mass_g, m.flags | flags,
                     edv_ml=m.edv_ml, esv_ml=m.esv_ml, ef=m.ef, mask=m.mask)


def _from_mask(cine: Cine, method: Method, phase: int, mask: NDArray[np.uint8], flags: Collection[Flag],
               network: dict[str, str] | None = None) -> Estimate:
    mass = grams(mask, cine.spacing)
    slices = [int(z) for z in np.flatnonzero(mask.any((1, 2)))]
    return _estimate(cine, method, phase, slices, mass, {*flags, *mask_flags(mask, mass)},
                     edv_ml=cavity_ml(mask, cine.spacing), network=network, mask=mask)


def _estimate(cine: Cine, method: Method, phase: int, slices: Collection[int], mass: float | None,
              flags: Collection[Flag], *, edv_ml: float | None = None, esv_ml: float | None = None,
              ef: float | None = None, network: dict[str, str] | None = None,
              mask: NDArray[np.uint8] | None = None) -> Estimate:
    instances = [f.instance for z in slices if (f := cine.frames[z][phase]) is not None]
    height, weight, _ = cine.person
    return Estimate(
        method=method, mass_g=mass, lvmi_g_m2=None if mass is None else lvmi(mass, height, weight),
        ed_phase=phase + 1, ed_instances=instances, spacing_mm=cine.spacing, slices=len(slices),
        edv_ml=edv_ml, esv_ml=esv_ml, ef=ef, quality=sorted({*cine.flags, *flags}),
        network=network, versions={"lvray": lvray.__version__}, mask=mask, affine=cine.affine)
