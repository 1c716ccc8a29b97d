"""Who is invented: sizes, ids, and how often InlineVF fails."""

from __future__ import annotations

import numpy as np
import pytest

from lvray.cmr.phantom.people import ABSENT, GROSS, PhantomOptions, inlinevf, person


def test_inlinevf_shares_hold_over_many_participants() -> None:
    states = [inlinevf(5, number) for number in range(3000)]
    assert states.count("absent") / 3000 == pytest.approx(ABSENT, abs=0.004)
    assert states.count("gross") / 3000 == pytest.approx(GROSS, abs=0.004)


@pytest.mark.parametrize("size", [24, 48])
def test_inlinevf_shares_hold_in_every_small_cohort(size: int) -> None:
    for seed in range(200):
        states = [inlinevf(seed, number) for number in range(size)]
        assert 1 <= states.count("absent") <= ABSENT * size + 2
        assert states.count("gross") <= GROSS * size + 2


def test_mass_is_spread_as_in_the_manual_labels() -> None:
    people = [person(1, number) for number in range(1500)]
    mass = np.array([p.mass_g for p in people])
    assert mass.mean() == pytest.approx(90, abs=4)
    assert mass.std() == pytest.approx(25, abs=3)
    assert mass.min() >= 50
    assert mass.max() <= 200
    men = np.array([p.sex == "M" for p in people])
    assert mass[men].mean() - mass[~men].mean() > 20
    assert np.corrcoef(mass, [p.weight_kg for p in people])[0, 1] > 0.3
    assert np.std([p.manual_g - p.mass_g for p in people]) == pytest.approx(5, abs=0.5)


def test_eids_have_seven_digits_and_are_unique() -> None:
    eids = {person(2, number).eid for number in range(2000)}
    assert len(eids) == 2000
    assert all(len(str(eid)) == 7 for eid in eids)


def test_options_name_what_is_too_small() -> None:
    with pytest.raises(ValueError, match="slices is 3"):
        PhantomOptions(slices=3)
