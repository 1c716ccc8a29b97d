"""Mass and volumes of a cine from outlines that already exist: DICOM overlays, contour files or a mask."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lvray.cmr.contours import Outline, crossing, morphology_outline, read_sunnybrook, ring_outline
from lvray.cmr.mass import millilitres, wall_grams
from lvray.cmr.pixels import overlay
from lvray.cmr.quality import Flag, mask_flags
from lvray.cmr.study import Cine
from lvray.errors import Reason, StudyRefused

CROSS_FLAG, CROSS_REFUSE = 0.02, 0.10
"""Share of an endocardium outside its epicardium: experts' lines cross by a little, another patient's by a lot."""
ES_SLICES = 0.5
"""ES is a phase with at least this share of ED's outlined slices: a stray outline is none."""

MaskRule = Literal["polygon", "morphology"]
Outlines = Mapping[tuple[int, int], Outline]
"""By (slice, phase)."""


@dataclass(frozen=True)
class Measurement:
    """What outlines say about a heart.

    mask: uint8 [Z, Y, X] at ED in the cine's own grid; mass_g is None where no epicardium is drawn at ED;
    esv_ml and ef are None where only one phase is outlined. phase: of ED, from 0. slices: those outlined at ED, from 0.
    """

    mask: NDArray[np.uint8]
    phase: int
    slices: tuple[int, ...]
    mass_g: float | None
    edv_ml: float | None
    esv_ml: float | None
    ef: float | None
    flags: frozenset[Flag]


def overlay_outlines(cine: Cine, rule: MaskRule = "polygon") -> dict[tuple[int, int], Outline]:
    """The outlines in the DICOM overlays (InlineVF); an empty plane is none. StudyRefused: one that is open."""
    draw = ring_outline if rule == "polygon" else morphology_outline
    outlines = {}
    for (z, phase), frame in cine.outlined.items():
        ring = overlay(frame)
        try:
            if ring.any():
                outlines[z, phase] = draw(ring)
        except StudyRefused as e:
            raise StudyRefused(e.reason, f"slice {z + 1}, phase {phase + 1}: {e.detail}") from e
    return outlines


def text_outlines(cine: Cine, folder: Path) -> dict[tuple[int, int], Outline]:
    """Contours of text files (Sunnybrook's format), matched to the cine by InstanceNumber."""
    places = [(f.instance, (z, p)) for z, row in enumerate(cine.frames) for p, f in enumerate(row) if f]
    at = dict(places)
    if len(at) != len(places):
        raise StudyRefused(Reason.OUTLINES_DISAGREE, "InstanceNumbers repeat: contours cannot be matched to images")
    found = read_sunnybrook(folder, dict.fromkeys(at, cine.shape[1:]))
    return {at[n]: outline for n, outline in found.items()}


def measure(cine: Cine, outlines: Outlines) -> Measurement:
    """ED is the outlined phase with the larger cavity. StudyRefused: no outlines, or ones that do not fit together."""
    by_phase: dict[int, dict[int, Outline]] = defaultdict(dict)
    for (z, phase), outline in outlines.items():
        by_phase[phase][z] = outline
    cavities = {phase: millilitres(sum(o.cavity_px for o in slices.values()), cine.spacing)
                for phase, slices in by_phase.items()}
    if not any(cavities.values()):
        raise StudyRefused(Reason.NO_OUTLINES, "no endocardium is outlined in any image: neither ED nor wall is known")
    ed = max(cavities, key=lambda p: (cavities[p], -p))
    slices = by_phase[ed]
    flags = set(_check_crossing(slices))
    if any(o.epi is None for o in slices.values()):
        flags.add(Flag.EPICARDIUM_ABSENT)
    walled = any(o.epi is not None for o in slices.values())
    mass = wall_grams(sum(o.wall_px for o in slices.values()), cine.spacing) if walled else None
    mask = np.zeros(cine.shape, np.uint8)
    for z, outline in slices.items():
        mask[z] = outline.labels(cine.shape[1:])
    edv = cavities[ed]
    esv = min((v for p, v in cavities.items() if p != ed and v > 0 and len(by_phase[p]) >= ES_SLICES * len(slices)),
              default=None)
    return Measurement(mask, ed, tuple(sorted(slices)), mass, edv, esv, None if esv is None else (edv - esv) / edv,
                       frozenset(flags | (mask_flags(mask, mass) if walled else set())))


def _check_crossing(slices: Mapping[int, Outline]) -> set[Flag]:
    shares = {z: crossing(o) for z, o in slices.items()}
    worst = max(shares, key=lambda z: shares[z])
    if shares[worst] > CROSS_REFUSE:
        raise StudyRefused(Reason.OUTLINES_DISAGREE,
                           f"slice {worst + 1}: {shares[worst]:.0%} of the endocardium lies outside the epicardium;"
                           " are these two patients' outlines?")
    return {Flag.OUTLINES_CROSS} if shares[worst] > CROSS_FLAG else set()
