"""Flags: what a person should know before trusting a study's mass. Each says why in words."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Flag(StrEnum):
    """The values are stable: JSON, shards and reports hold them. WORDS explains each."""

    SEVERAL_STACKS = "several_stacks"
    UNEVEN_PITCH = "uneven_pitch"
    WIDE_PITCH = "wide_pitch"
    SLICE_SHIFT = "slice_shift"
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
    SPACING_OUTSIDE_TRAINING = "spacing_outside_training"
    SLICES_OUTSIDE_TRAINING = "slices_outside_training"
    MASS_OUTSIDE_TRAINING = "mass_outside_training"
    DEMO_WEIGHTS = "demo_weights"


WORDS: dict[Flag, str] = {
    Flag.SEVERAL_STACKS: "more than one short-axis stack; the fullest was taken",
    Flag.UNEVEN_PITCH: "distances between slices differ by more than 10 %",
    Flag.WIDE_PITCH: "slices more than 12 mm apart: is every second one missing?",
    Flag.SLICE_SHIFT: "a slice lies more than 2 mm off the line of the others",
    Flag.FEW_SLICES: "the mass comes from fewer than 6 slices",
    Flag.PHASES_INCOMPLETE: "some slices have fewer images than others",
    Flag.PHASES_WITHOUT_TIMES: "no TriggerTime: phases are ordered by number",
    Flag.SINGLE_PHASE: "a single phase, taken as end diastole",
    Flag.ED_DOUBTFUL: "end diastole does not stand out in the images",
    Flag.HEART_NOT_FOUND: "nothing moves like a heart; the middle of the image was taken",
    Flag.OUTLINES_ABSENT: "no outline in any image",
    Flag.OUTLINES_REFUSED: "outlines that do not fit together: not used",
    Flag.OUTLINES_OFF_HEART: "outlines more than 25 mm off the heart as the images show it: another patient's?",
    Flag.OUTLINES_CROSS: "the endocardium leaves the epicardium by more than 2 % of its area",
    Flag.EPICARDIUM_ABSENT: "an end-diastolic slice with an endocardium alone: cavity without wall",
    Flag.MASK_GAPS: "a slice without myocardium between slices that have it",
    Flag.MASK_AT_BORDER: "the heart touches the border of the image or of the network's box",
    Flag.MASK_AT_END: "the heart reaches the first or last slice: part of it may lie beyond",
    Flag.CAVITY_OUTSIDE_MYOCARDIUM: "most of a slice's cavity has no wall around it",
    Flag.MASS_IMPLAUSIBLE: "the mass lies outside 30 to 400 g",
    Flag.SPACING_OUTSIDE_TRAINING: "pixel size or pitch outside what the network was trained on",
    Flag.SLICES_OUTSIDE_TRAINING: "more or fewer slices than the network was trained on",
    Flag.MASS_OUTSIDE_TRAINING: "a mass outside what the network was trained on",
    Flag.DEMO_WEIGHTS: "weights of a smoke recipe, for show only",
}

FEW_SLICES = 6
MASS_RANGE_G = (30.0, 400.0)
WALL_SHARE = 0.5
"""A slice's cavity border must touch wall along at least this share."""


def mask_flags(mask: NDArray[np.uint8], grams: float | None) -> set[Flag]:
    """What looks wrong about a mask [Z, Y, X] (0 background, 1 cavity, 2 myocardium) and its mass."""
    flags: set[Flag] = set()
    has = np.flatnonzero((mask == 2).any((1, 2)))
    if len(has) < FEW_SLICES:
        flags.add(Flag.FEW_SLICES)
    if len(has) and len(has) != has[-1] - has[0] + 1:
        flags.add(Flag.MASK_GAPS)
    if any((mask[:, edge] > 0).any() for edge in (0, -1)) or any((mask[:, :, edge] > 0).any() for edge in (0, -1)):
        flags.add(Flag.MASK_AT_BORDER)
    if any(_open_share(plane) > 1 - WALL_SHARE for plane in mask if (plane == 1).any()):
        flags.add(Flag.CAVITY_OUTSIDE_MYOCARDIUM)
    if grams is not None and not MASS_RANGE_G[0] <= grams <= MASS_RANGE_G[1]:
        flags.add(Flag.MASS_IMPLAUSIBLE)
    return flags


def _open_share(plane: NDArray[np.uint8]) -> float:
    """Share of the cavity's border pixels, just outside it, that are background. plane [Y, X]."""
    cavity = np.pad(plane == 1, 1)
    ring = np.zeros_like(cavity)
    for axis in (0, 1):
        for step in (1, -1):
            ring |= np.roll(cavity, step, axis)
    ring &= ~cavity
    return float((np.pad(plane, 1)[ring] == 0).mean())
