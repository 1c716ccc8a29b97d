from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from lvray.cmr.ed import end_diastole, end_systole, off_heart
from lvray.cmr.geometry import Turn, canonical
from lvray.cmr.measure import measure, overlay_outlines
from lvray.cmr.phantom.participant import Participant
from lvray.cmr.quality import Flag
from lvray.cmr.study import Cine
from lvray.errors import Reason, StudyRefused
from lvray.settings import Quality


def beating(make: Any, radii: tuple[int, ...], description: str = "SAX cine") -> list[Dataset]:
    """Four slices of a bright disc that has these radii in pixels over the beat."""
    images: list[Dataset] = make.stack(phases=len(radii), shape=(60, 60), spacing=(2, 2), description=description)
    y, x = np.mgrid[:60, :60]
    for n, ds in enumerate(images):
        inside = np.hypot(y - 30, x - 30) < radii[n % len(radii)]
        ds.PixelData = (inside * 500 + (7 * y + 3 * x) % 50).astype("<u2").tobytes()
    return images


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
    assert ed.flags == {Flag.ED_DOUBTFUL, Flag.HEART_NOT_FOUND, Flag.INTENSITY_ODD}
    assert ed.centre_yx == (9.5, 11.5)
    assert end_systole(make.cine(images), ed) is None


def test_a_slight_swing_is_doubtful_below_its_threshold(make: Any) -> None:
    cine = make.cine(beating(make, (12, 11, 11)))
    assert end_diastole(cine).flags == frozenset()
    assert end_diastole(cine, quality=Quality(ed_swing=0.5)).flags == {Flag.ED_DOUBTFUL}
    assert end_diastole(cine, 0, Quality(ed_swing=0.5)).flags == frozenset()  # outlines say so


def test_odd_intensities_count_at_ed(make: Any) -> None:
    images = beating(make, (12, 9, 11))
    images[4].PixelData = bytes(len(images[4].PixelData))  # slice 2, phase 2
    cine = make.cine(images)
    assert Flag.INTENSITY_ODD not in end_diastole(cine, 0).flags
    assert Flag.INTENSITY_ODD in end_diastole(cine, 1).flags


def test_outlines_off_the_heart(make: Any) -> None:
    ed = end_diastole(make.cine(beating(make, (12, 9, 11))))
    mask = np.zeros(ed.volume.image.shape, np.uint8)
    mask[:, 38:43, 28:33] = 2  # 10 pixels of 2 mm below the centre
    assert not off_heart(mask, ed)
    assert off_heart(mask, ed, Quality(off_heart_mm=10))
    assert off_heart(np.roll(mask, 10, 1), ed)
    assert not off_heart(np.zeros_like(mask), ed)


def test_a_single_phase(make: Any) -> None:
    assert Flag.SINGLE_PHASE in end_diastole(make.cine(make.stack(phases=1))).flags


def test_only_complete_phases_are_candidates(make: Any) -> None:
    images = beating(make, (12, 9, 11))
    assert end_diastole(make.cine(images)).volume.phase == 0
    assert end_diastole(make.cine(images[1:])).volume.phase == 2
    with pytest.raises(StudyRefused) as refused:
        end_diastole(make.cine([ds for n, ds in enumerate(images) if n not in (0, 4, 8)]))
    assert refused.value.reason == Reason.MISSING_PHASE


def test_ed_that_lacks_a_slice_is_refused(make: Any) -> None:
    images = make.stack(description="CINE_segmented_SAX_b1")
    with pytest.raises(StudyRefused, match="slice 1 has no image at phase 1"):
        end_diastole(make.cine(images[1:]))


@pytest.mark.parametrize("description", ["SAX cine", "CINE_segmented_SAX_b1"])
def test_end_systole_from_the_images(make: Any, description: str) -> None:
    """Where the protocol tells ED, and where the images do."""
    cine = make.cine(beating(make, (12, 9, 11), description))
    ed = end_diastole(cine)
    assert (ed.volume.phase, end_systole(cine, ed)) == (0, 1)
    assert end_systole(cine, end_diastole(cine, 1)) is None  # ED is said to be there
    lacks = make.cine(beating(make, (12, 8, 9, 11), description)[:-3])  # the last slice lacks three phases
    assert end_systole(lacks, end_diastole(lacks)) is None


def test_end_systole_from_the_outlines(make: Any) -> None:
    images = beating(make, (12, 9, 11))
    for n, ds in enumerate(images):
        if n % 3 != 1:
            make.draw(ds, make.square((60, 60), 20, 40) | make.square((60, 60), 24, (36, 0, 30)[n % 3]))
    cine = make.cine(images)
    found = measure(cine, overlay_outlines(cine))
    assert (found.phase, found.es_phase) == (0, 2)
    ed = end_diastole(cine, found.phase)
    assert end_systole(cine, ed, found) == 2
    lacks = make.cine(images[:-1])
    assert end_systole(lacks, ed, measure(lacks, overlay_outlines(lacks))) == 1  # its last slice is lost


def test_a_phantoms_end_systole(phantom: Callable[..., tuple[Participant, Cine]]) -> None:
    subject, cine = phantom()
    ed = end_diastole(cine)
    assert end_systole(cine, ed, measure(cine, overlay_outlines(cine))) == subject.es
    assert end_systole(cine, ed) == subject.es


def test_a_single_phase_has_no_end_systole(make: Any) -> None:
    cine = make.cine(make.stack(phases=1))
    assert end_systole(cine, end_diastole(cine)) is None
    assert end_systole(cine, end_diastole(cine, 0)) is None
