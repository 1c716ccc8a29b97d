"""End diastole and end systole of a cine: which phases, and where the heart is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lvray.cmr.geometry import Volume, canonical
from lvray.cmr.heart import Heart, find_heart
from lvray.cmr.measure import Measurement
from lvray.cmr.quality import DEFAULT, Flag, image_flags
from lvray.cmr.study import Cine
from lvray.errors import Reason, StudyRefused
from lvray.settings import Quality

PHASES_FOR_MOTION = 8
"""So many phases, evenly spaced, show where the heart is; finding ED or ES takes them all."""


@dataclass(frozen=True)
class EndDiastole:
    """volume: at ED, in the cine's own grid; centre_yx: of the LV in it, in pixels.

    es_phase: of end systole where finding ED took the images of every phase, from 0.
    """

    volume: Volume
    centre_yx: tuple[float, float]
    flags: frozenset[Flag]
    es_phase: int | None = None

    def canonical(self) -> EndDiastole:
        """The same in the canonical in-plane orientation, as the networks see it."""
        turn = canonical(self.volume.affine)
        return replace(self, volume=self.volume.turned(turn),
                       centre_yx=turn.apply_point(self.centre_yx, self.volume.image.shape))


def end_diastole(cine: Cine, phase: int | None = None, quality: Quality = DEFAULT) -> EndDiastole:
    """phase: of ED where outlines tell it, from 0; else phase 1 for UK Biobank's protocol, else found in the images.

    StudyRefused when no phase has an image in every slice.
    """
    complete = _complete(cine)
    if not complete:
        raise StudyRefused(Reason.MISSING_PHASE, "no phase has an image in every slice; export the whole study again")
    flags: set[Flag] = set()
    if len(complete) == 1:
        flags.add(Flag.SINGLE_PHASE)
    if phase is None and cine.first_phase_is_ed:
        phase = 0
    volumes = cine.volumes(complete if phase is None else _spread(complete))
    heart = _find(volumes)
    es = None
    if not heart.found:
        flags.add(Flag.HEART_NOT_FOUND)
    if phase is None:
        phase, es = complete[heart.ed], complete[heart.es]
        if heart.swing < quality.ed_swing:
            flags.add(Flag.ED_DOUBTFUL)
    volume = volumes[phase] if phase in volumes else cine.volume(phase)
    return EndDiastole(volume, _centre(heart, volume), frozenset(flags | image_flags(volume.image, quality)), es)


def end_systole(cine: Cine, ed: EndDiastole, measured: Measurement | None = None) -> int | None:
    """The phase of ES, from 0: the outlined one, else the one of the smallest bright area near the heart.

    Only phases with an image in every slice count. None: no phase but ED, or nothing that beats.
    """
    if measured and measured.es_phase is not None and cine.complete(measured.es_phase):
        return measured.es_phase
    es = ed.es_phase
    if es is None:
        complete = _complete(cine)
        es = complete[_find(cine.volumes(complete)).es]
    return None if es == ed.volume.phase else es


def off_heart(mask: NDArray[np.uint8], ed: EndDiastole, quality: Quality = DEFAULT) -> bool:
    """Whether a mask [Z, Y, X] in the cine's own grid lies elsewhere than the heart that the images show, if any."""
    if Flag.HEART_NOT_FOUND in ed.flags or not mask.any():
        return False
    _, y, x = np.argwhere(mask).mean(0) - (0, *ed.centre_yx)
    _, dy, dx = ed.volume.spacing
    return bool(np.hypot(y * dy, x * dx) > quality.off_heart_mm)


def _complete(cine: Cine) -> list[int]:
    return [p for p in range(cine.phases) if cine.complete(p)]


def _spread(phases: list[int]) -> list[int]:
    at = np.linspace(0, len(phases), min(PHASES_FOR_MOTION, len(phases)), endpoint=False).astype(int)
    return [phases[i] for i in at]


def _find(beat: Mapping[int, Volume]) -> Heart:
    images = np.stack([v.image for v in beat.values()])
    return find_heart(images, next(iter(beat.values())).spacing[1:])


def _centre(heart: Heart, volume: Volume) -> tuple[float, float]:
    rows, columns = volume.image.shape[1:]
    return heart.centre_yx if heart.found else ((rows - 1) / 2, (columns - 1) / 2)
