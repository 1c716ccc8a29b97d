from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lvray.evidence.agreement import agreement
from lvray.evidence.subgroups import flag_effects, subgroups, thirds


def test_each_level_of_each_grouping_in_order() -> None:
    rng = np.random.default_rng(1)
    manual = rng.normal(90, 25, 60)
    estimate = manual + rng.normal(3, 13, 60)
    sexes = [("male", "female", None)[i % 3] for i in range(60)]
    found = subgroups(estimate, manual, {"sex": sexes, "manual mass": thirds(manual)})
    assert [(s.grouping, s.level, s.agreement.n) for s in found] == [
        ("sex", "female", 20), ("sex", "male", 20),
        ("manual mass", "lowest third", 20), ("manual mass", "middle third", 20), ("manual mass", "highest third", 20)]
    women = np.array([s == "female" for s in sexes])
    assert found[0].agreement == agreement(estimate[women], manual[women])
    with pytest.raises(ValueError, match="one length"):
        subgroups(estimate, manual, {"sex": sexes[:3]})


def test_thirds() -> None:
    assert thirds([30.0, 10.0, 20.0]) == ["highest third", "lowest third", "middle third"]
    assert thirds([1.8, 1.8, 1.8]) == [None] * 3
    assert thirds([]) == []
    level = dict(zip(values := [1.8] * 6 + [1.6, 2.1], thirds(values), strict=True))
    assert (level[1.6], level[1.8], level[2.1]) == ("lowest third", "lowest third", "highest third")


def test_flags_by_what_they_tell_of_errors() -> None:
    rng = np.random.default_rng(2)
    manual = np.full(80, 90.0)
    flags = [{"everybody", *(("basal",) if i % 4 == 0 else ()), *(("noise",) if i % 5 == 0 else ()),
              *(("rare",) if i == 3 else ())} for i in range(80)]
    size = np.where([i % 4 == 0 for i in range(80)], 30, 8)
    estimate = manual + size * rng.choice([-1, 1], 80) + rng.normal(0, 1, 80)
    found = {effect.flag: effect for effect in flag_effects(estimate, manual, flags)}
    assert next(iter(found)) == "basal"
    assert list(found)[-1] == "everybody"
    basal, error = found["basal"], np.abs(estimate - manual)
    with_flag, without = error[::4], np.delete(error, np.s_[::4])
    t = stats.ttest_ind(with_flag, without, equal_var=False).confidence_interval(0.95)
    assert (basal.n_with, basal.n_without, basal.mae_with_g, basal.mae_without_g, basal.difference_g, basal.low,
            basal.high) == pytest.approx((20, 60, with_flag.mean(), without.mean(), with_flag.mean() - without.mean(),
                                          t.low, t.high))
    assert (basal.low or 0) > 15
    noise = found["noise"]
    assert (noise.low or 0) < 0 < (noise.high or 0)
    rare, everybody = found["rare"], found["everybody"]
    assert (rare.n_with, rare.low, rare.difference_g is None) == (1, None, False)
    assert (everybody.n_without, everybody.mae_without_g, everybody.difference_g) == (0, None, None)


def test_no_people_no_flags_no_spread() -> None:
    assert flag_effects([], [], []) == []
    assert flag_effects([1.0, 2.0], [1.0, 2.0], [set(), set()]) == []
    (same,) = flag_effects(np.ones(10), np.zeros(10), [{"f"} if i < 5 else set() for i in range(10)])
    assert (same.difference_g, same.low) == (0.0, None)
