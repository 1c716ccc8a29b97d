from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scripts.bench import learning


def test_dice_of_each_part() -> None:
    one = np.array([[0, 1, 1], [2, 2, 2]], np.uint8)
    other = np.array([[1, 1, 1], [0, 0, 2]], np.uint8)
    assert learning.dice_of(one, other) == (4 / 5, 2 / 4)


def test_agreement_beside_the_mean_of_the_training() -> None:
    found = learning.agreement(np.array([110.0, 130.0, 90.0]), np.array([100.0, 110.0, 90.0]), mean_g=80.0)
    assert found == pytest.approx({"r": 1.0, "bias": 10.0, "mae": 10.0, "mae_centred": 20 / 3, "mae_of_mean": 20.0})


@pytest.mark.parametrize(("change", "lost"), [
    ({}, None),
    ({"style dice": [0.899, 0.85]}, "cavity Dice, style"),
    ({"style dice": [0.95, 0.799]}, "myocardium Dice, style"),
    ({"r": 0.949}, "segmenter's r"),
    ({"mae": 9.1}, "regressor halves the mean's MAE"),
    ({"mae": 11.0, "mae_of_mean": 30.0}, "regressor gains by the pixel size"),
])
def test_each_bound_is_judged(change: dict[str, Any], lost: str | None) -> None:
    good: dict[str, Any] = {"r": 0.96, "mae": 8.0, "mae_of_mean": 18.0, "style dice": [0.92, 0.81]} | change
    found: dict[str, dict[str, Any]] = {"segmenter": good, "regressor": good, "regressor, no pixel size": {"mae": 10.0}}
    assert [name for name, held in learning.holds(found).items() if not held] == ([lost] if lost else [])
