from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lvray.cmr.ed import end_diastole
from lvray.cmr.geometry import Turn, canonical
from lvray.cmr.measure import measure, overlay_outlines
from lvray.cmr.phantom.participant import Participant
from lvray.cmr.quality import Flag
from lvray.cmr.study import Cine
from lvray.errors import Reason, StudyRefused


def test_uk_biobanks_first_phase_is_ed(phantom: Callable[..., tuple[Participant, Cine]]) -> None:
    _, cine = phantom()
    ed = end_diastole(cine)
    assert ed.volume.phase == 0
    y, x = np.argwhere(measure(cine, overlay_outlines(cine)).mask.any(0)).mean(0)
    assert np.hypot(*(np.subtract(ed.centre_yx, (y, x)) * cine.spacing[1:])) < 12
    assert ed.flags == frozenset()


def test_the_centre_turns_with_the_image(phantom: Callable[..., tuple[Participant, Cine]]) -> None:
    _, cine = phantom()
    ed = end_diastole(cine)
    seen = ed.canonical()
    assert canonical(seen.volume.affine) == Turn(False, False, False)
    (y, x), (v, u) = (np.rint(c).astype(int) for c in (ed.centre_yx, seen.centre_yx))
    assert np.array_equal(seen.volume.image[:, v, u], ed.volume.image[:, y, x])


def test_a_known_phase_is_taken(make: Any) -> None:
    cine = make.cine(make.stack())
    assert end_diastole(cine, 2).volume.phase == 2


def test_nothing_moves(make: Any) -> None:
    images = make.stack()
    for ds in images:
        ds.PixelData = bytes(len(ds.PixelData))
    ed = end_diastole(make.cine(images))
    assert ed.flags == {Flag.ED_DOUBTFUL, Flag.HEART_NOT_FOUND}
    assert ed.centre_yx == (9.5, 11.5)


def test_a_single_phase(make: Any) -> None:
    assert Flag.SINGLE_PHASE in end_diastole(make.cine(make.stack(phases=1))).flags


def test_only_complete_phases_are_candidates(make: Any) -> None:
    images = make.stack(shape=(60, 60), spacing=(2, 2))
    y, x = np.mgrid[:60, :60]
    for n, ds in enumerate(images):
        ds.PixelData = ((np.hypot(y - 30, x - 30) < (12, 9, 11)[n % 3]) * 500).astype("<u2").tobytes()
    assert end_diastole(make.cine(images)).volume.phase == 0
    assert end_diastole(make.cine(images[1:])).volume.phase == 2
    with pytest.raises(StudyRefused) as refused:
        end_diastole(make.cine([ds for n, ds in enumerate(images) if n not in (0, 4, 8)]))
    assert refused.value.reason == Reason.MISSING_PHASE


def test_ed_that_lacks_a_slice_is_refused(make: Any) -> None:
    images = make.stack(description="CINE_segmented_SAX_b1")
    with pytest.raises(StudyRefused, match="slice 1 has no image at phase 1"):
        end_diastole(make.cine(images[1:]))
