"""Mass and volumes from outlines: synthetic squares of known size, phantoms of known mass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from lvray.cmr.contours import Outline, ring_outline
from lvray.cmr.mass import grams
from lvray.cmr.measure import measure, overlay_outlines, text_outlines
from lvray.cmr.phantom.outlines import raster
from lvray.cmr.phantom.participant import Participant, truth
from lvray.cmr.quality import Flag
from lvray.cmr.study import Cine
from lvray.errors import Reason, StudyRefused
from lvray.settings import Quality

SHAPE = (40, 44)


def box(low: int, high: int) -> np.ndarray:
    shares = np.zeros(SHAPE, np.float32)
    shares[low:high, low:high] = 1
    return shares


def drawn(make: Any, spacing: tuple[float, float] = (1.5, 2.0)) -> list[Dataset]:
    """Squares of 18 and 10 pixels at phase 1, of 18 and 6 at phase 2, in all slices of 9 but the first and last."""
    images: list[Dataset] = make.stack(slices=9, phases=2, shape=SHAPE, spacing=spacing)
    for n, ds in enumerate(images[2:-2]):
        inner = 10 if n % 2 == 0 else 6
        make.draw(ds, make.square(SHAPE, 8, 26) | make.square(SHAPE, 12, 12 + inner))
    return images


@pytest.mark.parametrize("spacing", [(1.5, 2.0), (2.0, 1.5), (1.0, 2.5)])
def test_mass_and_volumes_of_squares(make: Any, spacing: tuple[float, float]) -> None:
    """An outline runs through its pixels' centres: 18 x 18 minus 10 x 10 pixels of both spacings and the pitch."""
    cine = make.cine(drawn(make, spacing))
    found = measure(cine, overlay_outlines(cine))
    voxel = 10.0 * spacing[0] * spacing[1] / 1000
    assert found.mass_g == pytest.approx(7 * (18**2 - 10**2) * voxel * 1.05, rel=0.01)
    assert found.edv_ml == pytest.approx(7 * 100 * voxel, rel=0.01)
    assert found.esv_ml == pytest.approx(7 * 36 * voxel, rel=0.02)
    assert found.ef == pytest.approx(0.64, abs=0.01)
    assert (found.phase, found.slices, found.flags) == (0, tuple(range(1, 8)), frozenset())
    assert found.mask.shape == cine.shape
    assert grams(found.mask, cine.spacing) == pytest.approx(found.mass_g, rel=0.1)
    assert (found.es_phase, list(found.masks)) == (1, [0, 1])
    assert [(found.masks[p] == 1).sum() for p in (0, 1)] == pytest.approx([7 * 100, 7 * 36], abs=7)
    assert found.mask is found.masks[0]


def test_the_larger_cavity_is_ed(make: Any) -> None:
    images = drawn(make)
    for ds in images:
        ds.TriggerTime = 40.0 - ds.TriggerTime
    cine = make.cine(images)
    assert measure(cine, overlay_outlines(cine)).phase == 1


def test_an_empty_overlay_plane_is_no_outline(make: Any) -> None:
    images = drawn(make)
    for ds in images[8:10]:
        make.draw(ds, np.zeros(SHAPE, bool))
    cine = make.cine(images)
    found = measure(cine, overlay_outlines(cine))
    assert found.slices == (1, 2, 3, 5, 6, 7)
    assert found.flags == {Flag.MASK_GAPS}


def test_an_open_outline_is_refused_and_named(make: Any) -> None:
    images = drawn(make)
    broken = np.zeros(SHAPE, bool)
    broken[5, 5:20] = True
    make.draw(images[6], broken)
    with pytest.raises(StudyRefused, match="slice 4, phase 1: ") as refused:
        overlay_outlines(make.cine(images))
    assert refused.value.reason == Reason.OUTLINES_DISAGREE


@pytest.fixture
def cine(make: Any) -> Cine:
    found: Cine = make.cine(make.stack(slices=9, phases=3, shape=SHAPE))
    return found


@pytest.fixture
def wall() -> dict[tuple[int, int], Outline]:
    """ED at phase 1, in all slices but the first and last."""
    return {(z, 0): Outline(box(10, 20), box(6, 24)) for z in range(1, 8)}


def test_what_is_drawn_at_ed(cine: Cine, wall: dict[tuple[int, int], Outline]) -> None:
    assert measure(cine, wall).flags == frozenset()
    no_epi = measure(cine, {**wall, (1, 0): Outline(box(10, 20), None)})
    assert no_epi.flags == {Flag.EPICARDIUM_ABSENT, Flag.CAVITY_OUTSIDE_MYOCARDIUM}
    assert no_epi.mass_g == pytest.approx(6 / 7 * (measure(cine, wall).mass_g or 0))
    cavity = measure(cine, {at: Outline(o.endo, None) for at, o in wall.items()})
    assert (cavity.mass_g, cavity.flags) == (None, frozenset({Flag.EPICARDIUM_ABSENT}))
    apex = measure(cine, {**wall, (7, 0): Outline(None, box(6, 24))})
    assert (apex.mask[7] == 2).sum() == 18**2
    assert measure(cine, {**wall, (8, 0): Outline(box(10, 20), box(6, 24))}).flags == {Flag.MASK_AT_END}


def test_outlines_that_do_not_fit(cine: Cine, wall: dict[tuple[int, int], Outline]) -> None:
    with pytest.raises(StudyRefused) as refused:
        measure(cine, {at: Outline(None, o.epi) for at, o in wall.items()})
    assert refused.value.reason == Reason.NO_OUTLINES
    with pytest.raises(StudyRefused) as refused:
        measure(cine, {})
    assert refused.value.reason == Reason.NO_OUTLINES
    with pytest.raises(StudyRefused, match="slice 4: 100%") as refused:
        measure(cine, {**wall, (3, 0): Outline(box(10, 20), box(22, 40))})
    assert refused.value.reason == Reason.OUTLINES_DISAGREE
    touching = box(10, 20)
    touching[10:20, 24:25] = 0.5
    crossed = {**wall, (3, 0): Outline(touching, box(6, 24))}
    assert measure(cine, crossed).flags == {Flag.OUTLINES_CROSS}
    assert measure(cine, crossed, Quality(cross_share=0.06)).flags == frozenset()


def test_a_stray_outline_is_not_end_systole(cine: Cine, wall: dict[tuple[int, int], Outline]) -> None:
    stray = measure(cine, {**wall, (2, 1): Outline(box(10, 14), None)})
    assert (stray.esv_ml, stray.ef, stray.es_phase, list(stray.masks)) == (None, None, None, [0])
    es = {(z, 2): Outline(box(12, 18), None) for z in range(2, 7)}
    found = measure(cine, {**wall, (2, 1): Outline(box(10, 14), None), **es})
    assert found.esv_ml == pytest.approx(5 * 36 * 0.03)
    assert (found.es_phase, list(found.masks)) == (2, [0, 2])
    assert np.unique(found.masks[2]).tolist() == [0, 1]  # endocardia alone


def test_every_phase_that_is_outlined_has_its_mask(cine: Cine, wall: dict[tuple[int, int], Outline]) -> None:
    later = {(z, p): Outline(box(10 + p, 20 - p), box(6, 24)) for z in range(2, 7) for p in (1, 2)}
    found = measure(cine, {**later, **wall})
    assert (found.phase, found.es_phase, list(found.masks)) == (0, 2, [0, 1, 2])
    assert [(m == 1).sum() for m in found.masks.values()] == [7 * 100, 5 * 64, 5 * 36]
    assert [(m == 2).sum() for m in found.masks.values()] == [7 * 224, 5 * 260, 5 * 288]


def test_outlines_that_cross_in_another_phase_are_not_used_and_flagged(
        cine: Cine, wall: dict[tuple[int, int], Outline]) -> None:
    es = {(z, 2): Outline(box(12, 18), box(6, 24)) for z in range(2, 7)}
    found = measure(cine, {**wall, **es, (4, 2): Outline(box(12, 18), box(22, 40))})
    assert (found.esv_ml, list(found.masks), set(found.flags)) == (None, [0], {Flag.OUTLINES_CROSS})
    assert measure(cine, {**wall, **es}).flags == frozenset()


def test_contours_of_numbers_that_repeat_are_refused(make: Any, tmp_path: Path) -> None:
    images = make.stack(slices=2, phases=1)
    images[1].InstanceNumber = 1
    with pytest.raises(StudyRefused, match="InstanceNumbers repeat"):
        text_outlines(make.cine(images), tmp_path)


@pytest.mark.parametrize("quirks", [(), ("valve",), ("mixed",)])
def test_a_phantoms_overlays_give_the_mass_of_its_own_contours(
        phantom: Callable[..., tuple[Participant, Cine]], quirks: tuple[str, ...]) -> None:
    subject, cine = phantom(*quirks)
    found = measure(cine, overlay_outlines(cine))
    voxel = cine.spacing[0] * cine.spacing[1] * cine.spacing[2] / 1000
    polygons = [o for o in truth(subject).inlinevf or [] if o]
    epi, endo = (sum(area(p) for p in side if p is not None) for side in
                 ([o.epi for o in polygons], [o.endo for o in polygons]))
    assert found.mass_g == pytest.approx((epi - endo) * voxel * 1.05, rel=0.02)
    assert found.edv_ml == pytest.approx(endo * voxel, rel=0.03)
    assert found.phase == 0
    assert found.es_phase == subject.es
    assert found.esv_ml is not None


def test_a_phantoms_true_outlines_give_its_true_mass(phantom: Callable[..., tuple[Participant, Cine]]) -> None:
    subject, cine = phantom()
    known = truth(subject)
    lines = {(z, 0): raster(o, *cine.shape[1:]) for z, o in enumerate(known.outlines) if o}
    found = measure(cine, {at: ring_outline(line) for at, line in lines.items()})
    assert found.mass_g == pytest.approx(known.mass_g, rel=0.02)
    assert found.edv_ml == pytest.approx(known.edv_ml, rel=0.03)
    assert (found.mask == known.mask).mean() > 0.995


def area(polygon: np.ndarray) -> float:
    """The shoelace formula. polygon [n, 2], in pixels."""
    x, y = polygon.T
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)
