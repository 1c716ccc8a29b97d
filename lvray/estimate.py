"""One study to one estimate: measured from outlines that exist, or predicted by a network.

The commands, the cohort job and the service all answer with it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

import lvray
from lvray.cmr.ed import end_diastole, off_heart
from lvray.cmr.geometry import Turn, canonical, tilt
from lvray.cmr.mass import CAVITY, MYOCARDIUM, Spacing, areas_mm2, cavity_ml, grams
from lvray.cmr.measure import Measurement, measure, overlay_outlines, text_outlines
from lvray.cmr.nifti import read_mask
from lvray.cmr.quality import Flag, mask_flags, trust_flags
from lvray.cmr.study import Cine
from lvray.errors import Reason, StudyRefused
from lvray.evidence.conformal import Intervals
from lvray.evidence.indices import lvmi
from lvray.nets.trained import Drawn, Trained
from lvray.weights import own

if TYPE_CHECKING:
    from lvray.nets.predict import Predictor

SEXES = {"F": "female", "M": "male"}
"""PatientSex (PS3.3, C.7.1.1)."""
Method = Literal["overlay", "contours", "mask", "ML4Hseg", "ML4Hreg"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """LV mass of one study and what it rests on. None: not known.

    centred_g: mass_g less the network's bias, where the checkpoint was calibrated; interval_g: (low, high) around it,
    in which the manual mass lies with the probability interval_level. lvmi_g_m2 is of mass_g. ed_phase counts from 1
    among the phases present; ed_instances are the InstanceNumbers of the images that the mass comes from, base to apex,
    stack_instances those of all slices at ED, which the areas are of (None: no image; of a data set's row none at all).
    agreement: 0 to 1, how far the network draws the same wall in the turned and mirrored study (nets/trained.Drawn).
    cavity_mm2, myocardium_mm2: areas in the mask, by slice, base to apex. mask: uint8 [Z, Y, X] at ED in the study's
    own grid (`affine`), where there is one.
    """

    method: Method
    mass_g: float | None
    centred_g: float | None = None
    interval_g: tuple[float, float] | None = None
    interval_level: float | None = None
    lvmi_g_m2: float | None
    ed_phase: int
    ed_instances: list[int]
    stack_instances: list[int | None]
    spacing_mm: Spacing
    slices: int
    edv_ml: float | None = None
    esv_ml: float | None = None
    ef: float | None = None
    cavity_mm2: list[float] | None = None
    myocardium_mm2: list[float] | None = None
    agreement: float | None = None
    quality: list[str]
    network: dict[str, str] | None = None
    versions: dict[str, str] = field(default_factory=lambda: {"lvray": lvray.__version__})
    mask: NDArray[np.uint8] | None = field(default=None, repr=False)
    affine: NDArray[np.float64] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in ("mask", "affine")}


@dataclass(frozen=True)
class View:
    """A study at ED as a network sees it, and what an estimate tells beside the mass.

    image [Z, Y, X], spacing and centre_yx: in the canonical orientation, which `turn` makes of the study's own grid
    (`affine`). phase: from 0. instances: InstanceNumbers at ED, base to apex; none of a data set's row.
    """

    image: NDArray[Any] = field(repr=False)
    spacing: Spacing
    centre_yx: tuple[float, float] | None
    turn: Turn
    affine: NDArray[np.float64] = field(repr=False)
    phase: int
    instances: tuple[int, ...]
    flags: frozenset[str]
    height_cm: float | None = field(repr=False)
    weight_kg: float | None = field(repr=False)
    sex: str | None = field(repr=False)

    @property
    def tilt(self) -> float:
        """Radians: geometry.tilt of the image."""
        return tilt(self.turn.apply_affine(self.affine, self.turn.undo(self.image).shape))

    @property
    def own_spacing(self) -> Spacing:
        """In the study's own grid."""
        dz, dy, dx = self.spacing
        return (dz, dx, dy) if self.turn.transpose else (dz, dy, dx)


def measure_overlays(cine: Cine) -> Estimate:
    """From the overlays inside the DICOM (InlineVF)."""
    return _measured(cine, "overlay", measure(cine, overlay_outlines(cine)))


def measure_contours(cine: Cine, folder: Path) -> Estimate:
    """From text contours (Sunnybrook's format)."""
    return _measured(cine, "contours", measure(cine, text_outlines(cine, folder)))


def measure_mask(cine: Cine, file: Path) -> Estimate:
    """From a NIfTI mask in the study's grid, at the ED that `predict` finds. StudyRefused: see read_mask; no wall, or
    one within the cavity."""
    mask = read_mask(file, cine.shape, cine.affine)
    if not (mask == MYOCARDIUM).any():
        raise StudyRefused(Reason.NO_OUTLINES, "the mask holds no myocardium (label 2)")
    if _inside_out(mask):
        raise StudyRefused(Reason.MASK_MISMATCH, "the mask's myocardium (label 2) lies within its cavity (label 1): are"
                           " the labels exchanged?")
    ed = end_diastole(cine)
    mass = grams(mask, cine.spacing)
    flags = ed.flags | mask_flags(mask, mass) | ({Flag.OUTLINES_OFF_HEART} if off_heart(mask, ed) else set())
    return _estimate(cine, "mask", ed.volume.phase, _slices(mask), mass, flags, mask, **_volumes(mask, cine.spacing))


def predict(cine: Cine, predictor: Predictor) -> Estimate:
    """By a network. StudyRefused: no heart in the mask, or more slices than a regressor takes."""
    seen = view(cine)
    see = predictor.regress if predictor.network["kind"] == "reg" else predictor.segment
    return predicted(seen, see(seen.image, seen.spacing, seen.centre_yx, seen.tilt), predictor)


def view(cine: Cine) -> View:
    ed = end_diastole(cine)
    turn, seen, phase = canonical(ed.volume.affine), ed.canonical(), ed.volume.phase
    instances = tuple(f.instance for row in cine.frames if (f := row[phase]) is not None)
    height, weight, sex = cine.person
    return View(seen.volume.image, seen.volume.spacing, seen.centre_yx, turn, ed.volume.affine, phase, instances,
                frozenset(cine.flags) | ed.flags, height, weight, SEXES.get(sex or ""))


def predicted(seen: View, answer: Drawn | float, by: Trained) -> Estimate:
    """From a network's answer: grams, or a mask in the canonical orientation. StudyRefused: no heart in the mask."""
    flags = seen.flags | _outside_training(by, seen)
    if isinstance(answer, float):
        return _predicted(seen, "ML4Hreg", answer, range(len(seen.image)), flags, by)
    if not (answer.mask == MYOCARDIUM).any():
        raise StudyRefused(Reason.NO_HEART, "the network found no myocardium in any slice")
    mask, spacing = seen.turn.undo(answer.mask), seen.own_spacing
    mass = grams(mask, spacing)
    cut_off = by.at_border(answer.mask, seen.spacing, seen.centre_yx, seen.tilt)
    flags |= mask_flags(mask, mass) | ({Flag.MASK_AT_BORDER} if cut_off else set())
    flags |= trust_flags(flags, answer.agreement)
    return _predicted(seen, "ML4Hseg", mass, _slices(mask), flags, by, mask=mask, agreement=answer.agreement,
                      **_volumes(mask, spacing))


def _predicted(seen: View, method: Method, mass: float, slices: Collection[int], flags: Collection[str], by: Trained,
               **of_mask: Any) -> Estimate:
    flags = {*flags, *_outside(by, Flag.MASS_OUTSIDE_TRAINING, mass_g=mass)}
    of_intervals: dict[str, Any] = {}
    if by.intervals is not None:
        intervals = Intervals.from_dict(by.intervals)
        of_intervals = {"centred_g": intervals.centred(mass, seen.sex), "interval_g": intervals.of(mass, seen.sex),
                        "interval_level": intervals.level}
        flags |= {Flag.INTERVAL_FROM_PHANTOMS} if intervals.kind == "phantom" and Flag.PHANTOM not in flags else set()
    network = {"kind": by.network["kind"], "recipe": by.checkpoint.settings["name"], "weights": by.weights_sha256[:16]}
    return Estimate(
        method=method, mass_g=mass, lvmi_g_m2=lvmi(mass, seen.height_cm, seen.weight_kg), ed_phase=seen.phase + 1,
        ed_instances=[seen.instances[z] for z in slices if seen.instances], stack_instances=list(seen.instances),
        spacing_mm=seen.own_spacing,
        slices=len(slices), quality=sorted(flags),
        network=network, affine=seen.affine, **of_intervals, **of_mask)


def _outside_training(by: Trained, seen: View) -> set[Flag]:
    dz, dy, dx = seen.spacing
    return (_outside(by, Flag.SPACING_OUTSIDE_TRAINING, dz_mm=dz, dy_mm=dy, dx_mm=dx)
            | _outside(by, Flag.SLICES_OUTSIDE_TRAINING, slices=len(seen.image))
            | ({Flag.DEMO_WEIGHTS} if by.checkpoint.settings["for_show"] else set())
            | ({Flag.OWN_WEIGHTS} if by.weights_sha256 == own.weights_sha256() else set()))


def _outside(by: Trained, flag: Flag, **facts: float) -> set[Flag]:
    return {flag} if by.outside_training(**facts) else set()


def _inside_out(mask: NDArray[np.uint8]) -> bool:
    """Whether the cavity lies farther from the middle of each slice than the wall, in most that have both."""
    farther = []
    for plane in mask:
        at = [np.argwhere(plane == label) for label in (CAVITY, MYOCARDIUM)]
        if all(map(len, at)):
            middle = np.concatenate(at).mean(0)
            cavity, wall = (np.linalg.norm(pixels - middle, axis=1).mean() for pixels in at)
            farther.append(cavity > wall)
    return bool(farther) and bool(np.mean(farther) > 0.5)


def _slices(mask: NDArray[np.uint8]) -> list[int]:
    return [int(z) for z in np.flatnonzero(mask.any((1, 2)))]


def _volumes(mask: NDArray[np.uint8], spacing: Spacing) -> dict[str, Any]:
    """The fields of an Estimate that a mask tells beside the mass."""
    return {"edv_ml": cavity_ml(mask, spacing), "cavity_mm2": areas_mm2(mask, CAVITY, spacing),
            "myocardium_mm2": areas_mm2(mask, MYOCARDIUM, spacing)}


def _measured(cine: Cine, method: Method, m: Measurement) -> Estimate:
    """A measurement, and whether it lies on the heart where the images show its motion."""
    moves = cine.phases > 1 and cine.complete(m.phase)
    flags = {Flag.OUTLINES_OFF_HEART} if moves and off_heart(m.mask, end_diastole(cine, m.phase)) else set()
    return _estimate(cine, method, m.phase, m.slices, m.mass_g, m.flags | flags, m.mask,
                     edv_ml=m.edv_ml, esv_ml=m.esv_ml, ef=m.ef)


def _estimate(cine: Cine, method: Method, phase: int, slices: Collection[int], mass: float | None,
              flags: Collection[Flag], mask: NDArray[np.uint8], **volumes: Any) -> Estimate:
    stack = [None if (f := row[phase]) is None else f.instance for row in cine.frames]
    instances = [at for z in slices if (at := stack[z]) is not None]
    height, weight, _ = cine.person
    return Estimate(
        method=method, mass_g=mass, lvmi_g_m2=None if mass is None else lvmi(mass, height, weight),
        ed_phase=phase + 1, ed_instances=instances, stack_instances=stack, spacing_mm=cine.spacing, slices=len(slices),
        quality=sorted({*cine.flags, *flags}), mask=mask, affine=cine.affine, **volumes)
