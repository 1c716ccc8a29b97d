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
from lvray.cmr.quality import DEFAULT, Flag, mask_flags
from lvray.cmr.study import Cine
from lvray.errors import Reason, StudyRefused
from lvray.settings import Quality

CROSS_REFUSE = 0.10
"""Share of an endocardium outside its epicardium: experts' lines cross by a little, another patient's by a lot."""
PHASE_SLICES = 0.5
"""A phase counts with at least this share of ED's outlined slices: a stray outline is none."""

MaskRule = Literal["polygon", "morphology"]
Outlines = Mapping[tuple[int, int], Outline]
"""By (slice, phase)."""


@dataclass(frozen=True)
class Measurement:
    """What outlines say about a heart.

    masks: uint8 [Z, Y, X] in the cine's own grid, by phase from 0: of ED, and of every other phase that is outlined in
    enough slices and fits together; where endocardia alone are drawn, as experts do at ES, it holds no myocardium.
    phase: of ED; es_phase: the other one of `masks` with the smallest cavity, None (as esv_ml and ef) where there is
    none. mass_g is None where no epicardium is drawn at ED. slices: those outlined at ED, from 0.
    """

    masks: Mapping[int, NDArray[np.uint8]]
    phase: int
    es_phase: int | None
    slices: tuple[int, ...]
    mass_g: float | None
    edv_ml: float
    esv_ml: float | None
    flags: frozenset[Flag]

    @property
    def mask(self) -> NDArray[np.uint8]:
        """At ED."""
        return self.masks[self.phase]

    @property
    def ef(self) -> float | None:
        return None if self.esv_ml is None else (self.edv_ml - self.esv_ml) / self.edv_ml


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


def measure(cine: Cine, outlines: Outlines, quality: Quality = DEFAULT) -> Measurement:
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
    _refuse_crossing(slices)
    kept = {p: by_phase[p] for p in sorted(by_phase) if p == ed or _counts(by_phase[p], len(slices))}
    es = min(kept.keys() - {ed}, key=lambda p: (cavities[p], p), default=None)
    mass = None
    if any(o.epi is not None for o in slices.values()):
        mass = wall_grams(sum(o.wall_px for o in slices.values()), cine.spacing)
    masks = {p: _mask(drawn, cine.shape) for p, drawn in kept.items()}
    flags = mask_flags(masks[ed], mass, quality)
    if any(o.epi is None for o in slices.values()):
        flags.add(Flag.EPICARDIUM_ABSENT)
    if any(crossing(o) > quality.cross_share for o in outlines.values()):
        flags.add(Flag.OUTLINES_CROSS)
    return Measurement(masks, ed, es, tuple(sorted(slices)), mass, cavities[ed], None if es is None else cavities[es],
                       frozenset(flags))


def _refuse_crossing(slices: Mapping[int, Outline]) -> None:
    worst = max(slices, key=lambda z: crossing(slices[z]))
    if (share := crossing(slices[worst])) > CROSS_REFUSE:
        raise StudyRefused(Reason.OUTLINES_DISAGREE,
                           f"slice {worst + 1}: {share:.0%} of the endocardium lies outside the epicardium;"
                           " are these two patients' outlines?")


def _counts(slices: Mapping[int, Outline], ed_slices: int) -> bool:
    """Whether a phase other than ED has a cavity, in enough slices, with outlines that fit together."""
    return (len(slices) >= PHASE_SLICES * ed_slices and any(o.cavity_px > 0 for o in slices.values())
            and all(crossing(o) <= CROSS_REFUSE for o in slices.values()))


def _mask(slices: Mapping[int, Outline], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    mask = np.zeros(shape, np.uint8)
    for z, outline in slices.items():
        mask[z] = outline.labels(shape[1:])
    return mask
