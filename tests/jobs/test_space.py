from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lvray import recipes
from lvray.errors import UseError
from lvray.jobs import space
from lvray.jobs.space import Choice, Range


def test_the_default_space_fits_every_recipe() -> None:
    for make in recipes.ALL.values():
        space.check(space.read(None), make())


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "space.json"
    file.write_text(json.dumps({"optimiser.lr": {"low": 1e-4, "high": 1e-2, "log": True},
                                "network.width": {"low": 8, "high": 32}, "augment": {"values": [True, False]}}))
    found = space.read(file)
    assert found == {"optimiser.lr": Range(low=1e-4, high=1e-2, log=True), "network.width": Range(low=8, high=32),
                     "augment": Choice(values=[True, False])}
    space.check(found, recipes.smoke_seg())
    space.check({"network.box": Choice(values=[[8, 64, 64], [10, 64, 64]])}, recipes.smoke_seg())
    made = space.apply(recipes.smoke_seg(), {"optimiser.lr": 0.002, "network.width": 9, "augment": False})
    assert (made.optimiser.lr, made.network.width, made.augment) == (0.002, 9, False)


@pytest.mark.parametrize(("plain", "says"), [
    ({"optimiser.gama": {"low": 0.9, "high": 1}}, "optimiser.gama: no such setting; did you mean optimiser.gamma"),
    ({"optimiser.gamma": {"low": 0.9, "high": 1.1}}, "optimiser.gamma: Input should be less than or equal to 1"),
    ({"optimiser.gamma": {"low": 1, "high": 0.9}}, "optimiser.gamma: low 1 is not below high 0.9"),
    ({"optimiser.lr": {"low": 0, "high": 1, "log": True}}, "optimiser.lr: low 0: a logarithm wants a number above 0"),
    ({"optimiser.lr": {"low": 0.1}}, "optimiser.lr: high: Field required"),
    ({"optimiser.lr": {"low": 0.1, "high": 1, "step": 2}}, "optimiser.lr: step: Extra inputs are not permitted"),
    ({"augment": {"values": []}}, "augment: values: List should have at least 1 item"),
    ({"network.box": {"values": ["a"]}}, "network.box: "),
    ({"epochs": {"low": 1, "high": 9}}, "epochs cannot be searched"),
    ({"saving.seconds": {"low": 1, "high": 9}}, "saving.seconds cannot be searched"),
    ({"optimiser": {"low": 1, "high": 9}}, "optimiser: a group of settings"),
    ({"optimiser.lr": 3}, "optimiser.lr: Input should be a valid dictionary"),
    ({"optimiser.lr": {"low": "0.1", "high": 1}}, "optimiser.lr: low: Input should be a valid"),
    ({"optimiser.lr": {"values": ["0.1"]}}, 'optimiser.lr: "0.1" would be taken as 0.1: write it so'),
    ({"network.width": {"low": 2.0, "high": 6.0}}, "network.width: "),
    ({"stream.batch": {"low": 4, "high": 16}}, "batch 5 is not a multiple of lanes 4"),
    ({}, "one object is wanted"), ([1], "one object is wanted"),
])
def test_what_cannot_be_searched_is_one_line(plain: Any, says: str, tmp_path: Path) -> None:
    file = tmp_path / "space.json"
    file.write_text(json.dumps(plain))
    with pytest.raises(UseError) as caught:
        space.check(space.read(file), recipes.smoke_seg())
    assert str(caught.value).startswith("--space: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lanes_for_every_worker() -> None:
    lanes: space.Space = {"stream.lanes": Choice(values=[1, 2, 4])}
    space.check(lanes, recipes.smoke_seg())
    with pytest.raises(UseError, match="2 workers need at least as many lanes, not 1"):
        space.check(lanes, recipes.smoke_seg(), 2)


def test_a_file_that_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(UseError, match="the file cannot be read"):
        space.read(tmp_path / "absent.json")
    (tmp_path / "half.json").write_text("{")
    with pytest.raises(UseError, match="the file is no JSON"):
        space.read(tmp_path / "half.json")
