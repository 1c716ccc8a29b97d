"""Flags: what a person should know before trusting a study's mass. Each has its threshold in settings.Quality."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvray.settings import Quality

DEFAULT = Quality()


class Flag(StrEnum):
    """The values are stable: JSON, shards and reports hold them. `words` explains each."""

    PHANTOM = "phantom"
    SEVERAL_STACKS = "several_stacks"
    SLICES_UNUSUAL = "slices_unusual"
    UNEVEN_PITCH = "uneven_pitch"
    WIDE_PITCH = "wide_pitch"
    SLICE_SHIFT = "slice_shift"
    PIXEL_UNUSUAL = "pixel_unusual"
    INTENSITY_ODD = "intensity_odd"
    FEW_SLICES = "few_slices"
    PHASES_INCOMPLETE = "phases_incomplete"
    PHASES_WITHOUT_TIMES = "phases_without_times"
    SINGLE_PHASE = "single_phase"
    ED_DOUBTFUL = "ed_doubtful"
    HEART_NOT_FOUND = "heart_not_found"
    OUTLINES_ABSENT = "outlines_absent"
    OUTLINES_REFUSED = "outlines_refused"
    OUTLINES_OFF_HEART = "outlines_off_heart"
    OUTLINES_CROSS = "outlines_cross"
    EPICARDIUM_ABSENT = "epicardium_absent"
    MASK_GAPS = "mask_gaps"
    MASK_AT_BORDER = "mask_at_border"
    MASK_AT_END = "mask_at_end"
    CAVITY_OUTSIDE_MYOCARDIUM = "cavity_outside_myocardium"
    MASS_IMPLAUSIBLE = "mass_implausible"
    NOT_TRUSTWORTHY = "not_trustworthy"
    SPACING_OUTSIDE_TRAINING = "spacing_outside_training"
    SLICES_OUTSIDE_TRAINING = "slices_outside_training"
    MASS_OUTSIDE_TRAINING = "mass_outside_training"
    DEMO_WEIGHTS = "demo_weights"
    OWN_WEIGHTS = "own_weights"
    INTERVAL_FROM_PHANTOMS = "interval_from_phantoms"
    FRAME_OF_REFERENCE_MENDED = "frame_of_reference_mended"
    ORIENTATION_MENDED = "orientation_mended"
    UIDS_MENDED = "uids_mended"
    DATES_MENDED = "dates_mended"
    TEXTS_MENDED = "texts_mended"
    THICKNESS_MENDED = "thickness_mended"


OF_IMAGES = frozenset({
    Flag.PHANTOM, Flag.SEVERAL_STACKS, Flag.SLICES_UNUSUAL, Flag.UNEVEN_PITCH, Flag.WIDE_PITCH, Flag.SLICE_SHIFT,
    Flag.PIXEL_UNUSUAL, Flag.INTENSITY_ODD, Flag.PHASES_INCOMPLETE, Flag.PHASES_WITHOUT_TIMES, Flag.SINGLE_PHASE,
    Flag.ED_DOUBTFUL, Flag.HEART_NOT_FOUND})
"""Those that hold whoever draws the outlines."""

NO_VENTRICLE = frozenset({Flag.FEW_SLICES, Flag.MASS_IMPLAUSIBLE})
"""Those of a mask that is no left ventricle's."""

_WORDS: dict[Flag, str] = {
    Flag.PHANTOM: "images of a phantom, not of a person",
    Flag.SEVERAL_STACKS: "more than one short-axis stack; the fullest was taken",
    Flag.SLICES_UNUSUAL: "fewer than {q.stack_slices[0]} or more than {q.stack_slices[1]} slices: are some missing,"
                         " or some of another scan?",
    Flag.UNEVEN_PITCH: "a distance between slices leaves the median by more than {q.pitch_share:.1%}",
    Flag.WIDE_PITCH: "slices more than {q.wide_pitch_mm:g} mm apart: is every second one missing?",
    Flag.SLICE_SHIFT: "a slice lies more than {q.shift_mm:g} mm off the line of the others",
    Flag.PIXEL_UNUSUAL: "pixels smaller than {q.pixel_mm[0]:g} mm or larger than {q.pixel_mm[1]:g} mm",
    Flag.INTENSITY_ODD: "a slice of fewer than {q.grey_levels} grey levels, or with more than {q.saturated_share:.1%}"
                        " of its pixels at the greatest: empty or clipped?",
    Flag.FEW_SLICES: "the mass comes from fewer than {q.mass_slices} slices",
    Flag.PHASES_INCOMPLETE: "some slices have fewer images than others",
    Flag.PHASES_WITHOUT_TIMES: "no TriggerTime: phases are ordered by number",
    Flag.SINGLE_PHASE: "a single phase, taken as end diastole",
    Flag.ED_DOUBTFUL: "end diastole does not stand out: the bright area shrinks by less than {q.ed_swing:.1%}"
                      " over the beat",
    Flag.HEART_NOT_FOUND: "nothing moves like a heart; the middle of the image was taken",
    Flag.OUTLINES_ABSENT: "no outline in any image",
    Flag.OUTLINES_REFUSED: "outlines that do not fit together: not used",
    Flag.OUTLINES_OFF_HEART: "outlines more than {q.off_heart_mm:g} mm off the heart as the images show it:"
                             " another patient's?",
    Flag.OUTLINES_CROSS: "the endocardium leaves the epicardium by more than {q.cross_share:.1%} of its area",
    Flag.EPICARDIUM_ABSENT: "an end-diastolic slice with an endocardium alone: cavity without wall",
    Flag.MASK_GAPS: "a slice without myocardium between slices that have it",
    Flag.MASK_AT_BORDER: "the heart touches the border of the image or of the network's box",
    Flag.MASK_AT_END: "the heart reaches the first or last slice: part of it may lie beyond",
    Flag.CAVITY_OUTSIDE_MYOCARDIUM: "a slice's cavity has wall along less than {q.wall_share:.1%} of its border",
    Flag.MASS_IMPLAUSIBLE: "the mass lies outside {q.mass_g[0]:g} to {q.mass_g[1]:g} g",
    Flag.NOT_TRUSTWORTHY: "do not use this mass: the network draws another wall when the study is turned or mirrored"
                          " (agreement below {q.agreement:g}), or what it drew is no left ventricle",
    Flag.SPACING_OUTSIDE_TRAINING: "pixel size or pitch outside what the network was trained on",
    Flag.SLICES_OUTSIDE_TRAINING: "more or fewer slices than the network was trained on",
    Flag.MASS_OUTSIDE_TRAINING: "a mass outside what the network was trained on",
    Flag.DEMO_WEIGHTS: "weights of a smoke recipe, for show only",
    Flag.OWN_WEIGHTS: "the weights that come with lvray, research use only; others made the same way missed the masses"
                      " of seven patients not seen before by 7 % in the median, 18 % at most (lvray/weights/README.md)",
    Flag.INTERVAL_FROM_PHANTOMS: "the interval was calibrated on phantoms: of a person's heart it promises nothing",
    Flag.FRAME_OF_REFERENCE_MENDED: "the images share no valid frame of reference: the DICOM made of them has a new"
                                    " one",
    Flag.ORIENTATION_MENDED: "the image axes are not square: the DICOM made of them has the nearest that are",
    Flag.UIDS_MENDED: "invalid UIDs: the DICOM made of the images has new ones in their place",
    Flag.DATES_MENDED: "invalid dates or times: left empty in the DICOM made of the images",
    Flag.TEXTS_MENDED: "header texts that break the standard: left empty in the DICOM made of the images",
    Flag.THICKNESS_MENDED: "no SliceThickness: the DICOM made of the images has the pitch in its place",
}


def words(flag: Flag, quality: Quality = DEFAULT) -> str:
    """Why a flag is raised, with the threshold."""
    return _WORDS[flag].format(q=quality)


def stack_flags(gaps_mm: NDArray[np.float64], off_line_mm: float, pixel_mm: tuple[float, float],
                quality: Quality = DEFAULT) -> set[Flag]:
    """What looks wrong about how the slices lie: distances from each to the next, how far one lies off their line."""
    flags: set[Flag] = set()
    median = float(np.median(gaps_mm))
    if not quality.stack_slices[0] <= len(gaps_mm) + 1 <= quality.stack_slices[1]:
        flags.add(Flag.SLICES_UNUSUAL)
    if np.abs(gaps_mm / median - 1).max() > quality.pitch_share:
        flags.add(Flag.UNEVEN_PITCH)
    if median > quality.wide_pitch_mm:
        flags.add(Flag.WIDE_PITCH)
    if off_line_mm > quality.shift_mm:
        flags.add(Flag.SLICE_SHIFT)
    if min(pixel_mm) < quality.pixel_mm[0] or max(pixel_mm) > quality.pixel_mm[1]:
        flags.add(Flag.PIXEL_UNUSUAL)
    return flags


def image_flags(image: NDArray[Any], quality: Quality = DEFAULT) -> set[Flag]:
    """What looks wrong about the pixels [Z, Y, X]: a slice that is constant, empty or clipped."""
    return {Flag.INTENSITY_ODD} if any(_odd(plane, quality) for plane in image) else set()


def _odd(plane: NDArray[Any], quality: Quality) -> bool:
    """Grey levels are values that occur, whatever the rescale slope: those of the middle 98 % of the pixels count."""
    values = np.sort(plane, axis=None)
    middle = values[values.size // 100:values.size - values.size // 100]
    levels = 1 + np.count_nonzero(np.diff(middle))
    greatest = values.size - np.searchsorted(values, values[-1])
    return bool(levels < quality.grey_levels or greatest > quality.saturated_share * values.size)


def mask_flags(mask: NDArray[np.uint8], grams: float | None, quality: Quality = DEFAULT) -> set[Flag]:
    """What looks wrong about a mask [Z, Y, X] (0 background, 1 cavity, 2 myocardium) and its mass.

    grams: None where no wall is drawn; then only where the heart lies counts.
    """
    flags: set[Flag] = set()
    if any((mask[:, edge] > 0).any() for edge in (0, -1)) or any((mask[:, :, edge] > 0).any() for edge in (0, -1)):
        flags.add(Flag.MASK_AT_BORDER)
    if mask[0].any() or mask[-1].any():
        flags.add(Flag.MASK_AT_END)
    return flags if grams is None else flags | _wall_flags(mask, grams, quality)


def trust_flags(flags: Collection[str], agreement: float | None, quality: Quality = DEFAULT) -> set[Flag]:
    """Whether an estimate is to be thrown away. flags: of the study and its mask; agreement: nets.trained.Drawn's.
    Nothing is said of a network that answers from one view."""
    if agreement is not None and (agreement < quality.agreement or not NO_VENTRICLE.isdisjoint(flags)):
        return {Flag.NOT_TRUSTWORTHY}
    return set()


def _wall_flags(mask: NDArray[np.uint8], grams: float, quality: Quality) -> set[Flag]:
    flags: set[Flag] = set()
    has = np.flatnonzero((mask == 2).any((1, 2)))
    if len(has) < quality.mass_slices:
        flags.add(Flag.FEW_SLICES)
    if len(has) and len(has) != has[-1] - has[0] + 1:
        flags.add(Flag.MASK_GAPS)
    if any(_wall_share(plane) < quality.wall_share for plane in mask if (plane == 1).any()):
        flags.add(Flag.CAVITY_OUTSIDE_MYOCARDIUM)
    if not quality.mass_g[0] <= grams <= quality.mass_g[1]:
        flags.add(Flag.MASS_IMPLAUSIBLE)
    return flags


def _wall_share(plane: NDArray[np.uint8]) -> float:
    """Share of the cavity's border pixels, just outside it, that are wall. plane [Y, X]."""
    cavity = np.pad(plane == 1, 1)
    ring = np.zeros_like(cavity)
    for axis in (0, 1):
        for step in (1, -1):
            ring |= np.roll(cavity, step, axis)
    ring &= ~cavity
    return float((np.pad(plane, 1)[ring] == 2).mean())
