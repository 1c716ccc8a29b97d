from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from lvray.jobs.space import Choice, Range, Space
from lvray.jobs.tpe import Tpe

SPACE: Space = {"optimiser.gamma": Range(low=0.85, high=1.0, log=True), "augment": Choice(values=[True, False])}
FIRST = {"optimiser.gamma": 0.95, "augment": True}


def score(values: Mapping[str, Any]) -> float:
    return float(abs(values["optimiser.gamma"] - 0.9) + 0.01 * values["augment"])


def proposals(trials: int = 12, seed: int = 0, first: Mapping[str, Any] = FIRST,
              standing: Mapping[int, Mapping[str, Any]] = {}, failing: int | None = None) -> list[dict[str, Any]]:
    """One after the other, each scored before the next is asked for."""
    search = Tpe(SPACE, trials, seed, first, standing)
    found: list[dict[str, Any]] = []
    while isinstance(made := search.suggest(str(len(found))), dict):
        number = made["number"]
        assert number == len(found)
        found.append(made["values"])
        search.on_trial_complete(str(number), None if number == failing else {"score": score(made["values"])},
                                 error=number == failing)
    return found


def test_the_recipe_is_the_first_and_the_rest_lies_in_the_space() -> None:
    found = proposals()
    assert found[0] == FIRST
    assert len({values["optimiser.gamma"] for values in found}) == 12
    assert all(0.85 <= values["optimiser.gamma"] <= 1 for values in found)


def test_the_seed_decides() -> None:
    assert proposals(seed=1) == proposals(seed=1)
    assert proposals(seed=1) != proposals(seed=2)


@pytest.mark.parametrize("ended", [1, 3, 7])
def test_a_search_that_goes_on_proposes_what_it_would_have(ended: int) -> None:
    whole = proposals()
    assert proposals(standing=dict(enumerate(whole[:ended]))) == whole


def test_more_trials_begin_like_fewer() -> None:
    assert proposals(trials=12)[:8] == proposals(trials=8)


def test_it_learns_from_scores() -> None:
    late = proposals(trials=24)[12:]
    assert sum(score(values) for values in late) / 12 < 0.04  # evenly drawn ones score 0.05


def test_a_recipe_outside_of_the_space_is_tried_all_the_same() -> None:
    outside = FIRST | {"optimiser.gamma": 0.5}
    found = proposals(first=outside)
    assert found[0] == outside
    assert all(values["optimiser.gamma"] >= 0.85 for values in found[1:])


def test_a_trial_that_failed_ends_no_search() -> None:
    assert len(proposals(failing=2)) == 12


def test_trials_at_a_time_are_asked_for_before_any_ends() -> None:
    search = Tpe(SPACE, 3, 0, FIRST, {})
    made = [search.suggest(str(number)) for number in range(3)]
    assert [found["number"] for found in made if isinstance(found, dict)] == [0, 1, 2]
    last: object = search.suggest("3")
    assert last == Tpe.FINISHED
    for number in (2, 0, 1):
        search.on_trial_complete(str(number), {"score": 1.0})
