from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize

from lvray.evidence.outcomes import Odds, odds

Columns = tuple[list[bool | None], list[bool | None], list[float | None], list[str | None]]


def cohort(n: int, seed: int = 0) -> Columns:
    """Odds of the outcome are 4 times with LVH; men, and the old, have both more often."""
    rng = np.random.default_rng(seed)
    age, male = rng.normal(63, 7, n), rng.random(n) < 0.5
    lvh = rng.random(n) < 0.15 + 0.15 * male
    event = rng.random(n) < 1 / (1 + np.exp(2 - math.log(4) * lvh - 0.05 * (age - 63) - 0.5 * male))
    return ([bool(v) for v in lvh], [bool(v) for v in event], [float(v) for v in age],
            ["male" if m else "female" for m in male])


def test_against_the_likelihoods_own_maximum() -> None:
    lvh, event, age, sex = cohort(400)
    columns = (lvh, [(float(a or 0) - 60) / 10 for a in age], [s == "male" for s in sex], [1.0] * 400)
    design = np.array(columns, dtype=np.float64).T
    y = np.array(event, dtype=float)

    def loss(b: np.ndarray) -> float:
        return float(np.logaddexp(0, design @ b).sum() - y @ design @ b)

    best = optimize.minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-7}).x
    chance = 1 / (1 + np.exp(-design @ best))
    se = math.sqrt(np.linalg.inv(design.T @ (design * (chance * (1 - chance))[:, None]))[0, 0])
    found = odds(lvh, event, age, sex)
    assert (found.n, found.events, found.unknown, found.adjusted_for) == (400, sum(map(bool, event)), 0, ("age", "sex"))
    assert (found.low, found.odds_ratio, found.high) == pytest.approx(
        tuple(math.exp(best[0] + k * 1.959964 * se) for k in (-1, 0, 1)), rel=1e-4)


def test_of_one_age_and_sex_it_is_the_2x2_tables() -> None:
    lvh = [True] * 50 + [False] * 100
    event = [True] * 20 + [False] * 30 + [True] * 15 + [False] * 85
    found = odds(lvh, event, [60.0] * 150, ["female"] * 150)
    ratio, half = 20 * 85 / (30 * 15), 1.959964 * math.sqrt(1 / 20 + 1 / 30 + 1 / 15 + 1 / 85)
    assert found.adjusted_for == ()
    assert (found.low, found.odds_ratio, found.high) == pytest.approx(
        (ratio * math.exp(-half), ratio, ratio * math.exp(half)), rel=1e-5)


def test_the_unknown_are_counted_out() -> None:
    lvh, event, age, sex = cohort(200)
    whole = odds(lvh, event, age, sex)
    found = odds([*lvh, None, True, True, True], [*event, True, None, True, True], [*age, 60.0, 60.0, None, 60.0],
                 [*sex, "male", "male", "male", None])
    assert (found.n, found.unknown, found.odds_ratio) == (200, 4, whole.odds_ratio)


def _reason(found: Odds) -> str:
    assert (found.odds_ratio, found.low, found.high) == (None, None, None)
    return found.reason or ""


def test_what_is_not_estimable_is_said_in_words() -> None:
    lvh, event, age, sex = cohort(200)
    n = len(lvh)
    assert "nobody has LVH, outcome" in _reason(odds([], [], [], []))
    assert "nobody has the outcome" in _reason(odds(lvh, [False] * n, age, sex))
    assert "everybody has the outcome" in _reason(odds(lvh, [True] * n, age, sex))
    assert "nobody has LVH" in _reason(odds([False] * n, event, age, sex))
    assert "everybody has LVH" in _reason(odds([True] * n, event, age, sex))
    assert "cannot be told apart" in _reason(odds([s == "male" for s in sex], event, age, sex))
    with pytest.raises(ValueError, match="sex"):
        odds([True], [True], [60.0], ["M"])


def test_separation_is_seen_complete_or_quasi() -> None:
    lvh, event, age, sex = cohort(200)
    assert "separation" in _reason(odds(lvh, lvh, age, sex))
    assert "separation" in _reason(odds(lvh, [bool(e and h) for e, h in zip(event, lvh, strict=True)], age, sex))
    old = sorted(float(a or 0) for a in age)[150]
    assert "separation" in _reason(odds(lvh, [float(a or 0) >= old for a in age], age, sex))
    assert "separation" in _reason(odds([True, False, False], [True, False, False], [60.0, 61.0, 60.0], ["male"] * 3))


def test_one_person_against_the_pattern_ends_the_separation() -> None:
    lvh, event, age, sex = cohort(200)
    only_with = [bool(e and h) for e, h in zip(event, lvh, strict=True)]
    only_with[lvh.index(False)] = True
    found = odds(lvh, list(only_with), age, sex)
    assert found.reason is None
    assert (found.odds_ratio or 0) > 20


def test_no_small_cohort_upsets_it() -> None:
    for seed in range(200):
        found = odds(*cohort(4 + seed // 10, seed))
        assert (found.reason is None) == (found.odds_ratio is not None)
        assert found.odds_ratio is None or math.isfinite(found.odds_ratio + (found.low or 0) + (found.high or 0))
