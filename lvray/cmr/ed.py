"""End diastole of a cine: which phase, and where the heart is in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lvray.cmr.geometry import Volume, canonical
from lvray.cmr.heart import Heart, find_heart
from lvray.cmr.quality import Flag
from lvray.cmr.study import Cine
from lvray.errors import Reason, StudyRefused

PHASES_FOR_MOTION = 8
"""So many phases, evenly spaced, show where the heart is; finding ED takes them all."""


OFF_HEART_MM = 25.0
"""Outlines this far off are another heart's: the finder is right to 10 mm on real ones."""


@dataclass(frozen=True)
class EndDiastole:
    """volume: at ED, in the cine's own grid; centre_yx: of the LV in it, in pixels."""

    volume: Volume
    centre_yx: tuple[float, float]
    flags: frozenset[Flag]

    def canonical(self) -> EndDiastole:
        """The same in the canonical in-plane orientation, as the networks see it."""
        turn = canonical(self.volume.affine)
        return replace(self, volume=self.volume.turned(turn),
                       centre_yx=turn.apply_point(self.centre_yx, self.volume.image.shape))


def end_diastole(cine: Cine, phase: int | None = None) -> EndDiastole:
    """phase: of ED where outlines tell it, from 0; else phase 1 for UK Biobank's protocol, else found in the images.

    StudyRefused when no phase has an image in every slice.
    """
    complete = [p for p in range(cine.phases) if cine.complete(p)]
    if not complete:
        raise StudyRefused(Reason.MISSING_PHASE, "no phase has an image in every slice; export the whole study again")
    flags: set[Flag] = set()
    if len(complete) == 1:
        flags.add(Flag.SINGLE_PHASE)
    if phase is None and cine.first_phase_is_ed:
        phase = 0
    volumes = cine.volumes(complete if phase is None else _spread(complete))
    heart = find_heart(np.stack([v.image for v in volumes.values()]).astype(np.float32), cine.spacing[1:])
    if not heart.found:
        flags.add(Flag.HEART_NOT_FOUND)
    if phase is None:
        phase = list(volumes)[heart.ed]
        if not heart.ed_sure:
            flags.add(Flag.ED_DOUBTFUL)
    volume = volumes[phase] if phase in volumes else cine.volume(phase)
    return EndDiastole(volume, _centre(heart, volume), frozenset(flags))


def off_heart(mask: NDArray[np.uint8], ed: EndDiastole) -> bool:
    """Whether a mask [Z, Y, X] in the cine's own grid lies elsewhere than the heart that the images show, if any."""
    if Flag.HEART_NOT_FOUND in ed.flags or not mask.any():
        return False
    _, y, x = np.argwhere(mask).mean(0) - (0, *ed.centre_yx)
    _, dy, dx = ed.volume.spacing
    return bool(np.hypot(y * dy, x * dx) > OFF_HEART_MM)


def _spread(phases: list[int]) -> list[int]:
    at = np.linspace(0, len(phases), min(PHASES_FOR_MOTION, len(phases)), endpoint=False).astype(int)
    return [phases[i] for i in at]


def _centre(heart: Heart, volume: Volume) -> tuple[float, float]:
    rows, columns = volume.image.shape[1:]
    return heart.centre_yx if heart.found else ((rows - 1) / 2, (columns - 1) / 2)
