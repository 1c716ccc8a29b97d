"""The heart itself: its mass, its motion, and what is drawn around it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lvray.cmr.phantom import heart as hearts
from lvray.cmr.phantom.outlines import Outline, raster
from lvray.cmr.phantom.participant import Participant, frames, inlinevf, participant, truth
from lvray.cmr.phantom.people import PhantomOptions

SMALL = PhantomOptions(phases=10, slices=8, rows=96, columns=96)
FULL = PhantomOptions(phases=50, slices=13, rows=208, columns=168)


def grams(subject: Participant, outlines: list[Outline | None]) -> float:
    def area(polygon: NDArray[np.float64] | None) -> float:
        if polygon is None:
            return 0.0
        x, y = polygon.T
        return 0.5 * abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) * subject.scan.pixel_mm**2

    return sum(area(o.epi) - area(o.endo) for o in outlines if o is not None) * 10 / 1000 * 1.05


@pytest.mark.parametrize("options", [SMALL, FULL])
@pytest.mark.parametrize("number", range(4))
def test_true_mass_is_that_of_the_mask_and_of_the_outlines(number: int, options: PhantomOptions) -> None:
    subject = participant(0, number, options)
    known = truth(subject)
    assert known.mass_g == pytest.approx(subject.person.mass_g, abs=1e-3)
    voxel = 10 * subject.scan.pixel_mm**2 / 1000
    assert (known.mask == 2).sum() * voxel * 1.05 == pytest.approx(known.mass_g, rel=0.02)
    assert (known.mask == 1).sum() * voxel == pytest.approx(known.edv_ml, rel=0.02)
    assert grams(subject, known.outlines) == pytest.approx(known.mass_g, rel=0.005)


@pytest.mark.parametrize("phases", [10, 50])
def test_phase_1_has_the_largest_cavity_and_mass_is_kept(phases: int) -> None:
    for number in range(4):
        subject = participant(4, number, PhantomOptions(phases=phases, slices=13))
        volumes = [hearts.volume_ml(hearts.outlines(subject.heart, share)[0]) for share in subject.shares]
        assert max(volumes[1:]) < volumes[0]
        assert volumes[subject.es] == min(volumes)
        assert hearts.mass_g(subject.heart, 1.0) == pytest.approx(subject.person.mass_g, rel=0.12)


def test_there_is_a_basal_c_and_slices_without_myocardium() -> None:
    gaps, without = 0, 0
    for number in range(12):
        subject = participant(0, number, FULL)
        endo, epi, counts = hearts.outlines(subject.heart, 0.0)
        gaps += bool(((epi - endo)[counts] == 0).any())
        without += not counts[0] and not counts[-1]
    assert gaps >= 6
    assert without >= 10


def test_the_drawn_outline_is_thin_closed_and_on_the_polygon() -> None:
    subject = participant(0, 0, FULL)
    middle = next(o for o in truth(subject).outlines[5:] if o is not None)
    assert middle.endo is not None
    drawn = raster(Outline(None, middle.endo[::10]), 208, 168)
    around = np.sum([np.roll(drawn, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0) - 1
    assert around[drawn].min() >= 2
    assert np.median(around[drawn]) == 2
    away = np.argwhere(drawn)[:, None, ::-1] - middle.endo
    assert np.hypot(*np.moveaxis(away, -1, 0)).min(1).max() < 1.0
    assert away.mean((0, 1)) == pytest.approx([0, 0], abs=0.3)


def test_inlinevf_is_too_heavy_more_so_in_men_and_absent_where_it_should_be() -> None:
    extra: dict[str, list[float]] = {"F": [], "M": []}
    for number in range(60):
        subject = participant(6, number, SMALL)
        found = inlinevf(subject, 0)
        assert (found is None) == (subject.person.inlinevf == "absent")
        assert inlinevf(subject, 1) is None
        if found is not None and subject.person.inlinevf == "normal":
            extra[subject.person.sex].append(grams(subject, found) - subject.person.mass_g)
    assert 5 < np.mean(extra["F"]) < np.mean(extra["M"]) < 25
    assert np.std(extra["F"] + extra["M"]) > 6


def test_blood_is_bright_and_the_ventricle_empties() -> None:
    subject = participant(0, 2, SMALL)
    labels = truth(subject).mask
    index = int(np.argmax((labels == 1).sum((1, 2))))
    cine = frames(subject, index).astype(float)
    blood, muscle = (cine[0][labels[index] == k].mean() for k in (1, 2))
    assert 1.7 < blood / muscle < 3.5
    assert cine[subject.es][labels[index] == 1].mean() < 0.9 * blood
    assert cine.max() <= 4095
