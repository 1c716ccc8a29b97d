from __future__ import annotations

import io

import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from lvray.evidence.figures import ORANGE
from lvray.evidence.search import Trial, picture


def trials(values: list[dict[str, object]]) -> list[Trial]:
    states = ["done", "stopped", "failed", "stopped"]
    return [Trial(number, states[number % 4], at, [(epoch, 0.1 * (number + 1) + 1 / epoch) for epoch in (1, 2, 3)])
            for number, at in enumerate(values)]


def shares_of(png: bytes, colour: str) -> float:
    seen = imread(io.BytesIO(png))[..., :3]
    return float((abs(seen - to_rgb(colour)).max(-1) < 0.02).mean())


def test_the_winner_is_marked() -> None:
    shown = trials([{"optimiser.gamma": 0.9}, {"optimiser.gamma": 0.95}])
    assert shares_of(picture(shown, winner=1), ORANGE) > 0.001


@pytest.mark.parametrize("names", [1, 3])
def test_a_panel_for_each_setting(names: int) -> None:
    values: list[dict[str, object]] = [
        {"optimiser.gamma": 0.9, "augment": True, "step.precision": "bf16"},
        {"optimiser.gamma": 0.95, "augment": False, "step.precision": "fp32"}]
    shown = trials([dict(list(at.items())[:names]) for at in values])
    width = imread(io.BytesIO(picture(shown, winner=0))).shape[1]
    assert width == pytest.approx(110 * (5.6 + 3.4 * names), abs=2)


def test_a_trial_without_a_validation_is_left_out() -> None:
    shown = [*trials([{"optimiser.gamma": 0.9}]), Trial(1, "failed", {"optimiser.gamma": 1.0}, [])]
    assert picture(shown, winner=0) == picture(shown[:1], winner=0)
