"""Recipes and settings: every name is a valid recipe, and a setting that does not exist is an error, never ignored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from lvray import recipes
from lvray.errors import UseError
from lvray.settings import Recipe, Tensorize


@pytest.mark.parametrize("name", recipes.ALL)
def test_a_recipe_is_named_as_its_function_and_survives_json(name: str) -> None:
    recipe = recipes.named(name)
    assert recipe.name == name
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert recipe.for_show == name.startswith("smoke_")


def test_the_papers_recipes_hold_the_papers_values() -> None:
    for recipe in (recipes.paper_reg(), recipes.paper_seg()):
        assert (recipe.optimiser.name, recipe.optimiser.lr, recipe.stream.batch) == ("adam", 1e-3, 4)
        assert recipe.network.box == (13, 256, 256)
        assert recipe.network.pixel_size
    zoo = recipes.zoo_seg()
    assert (zoo.optimiser.name, zoo.optimiser.lr, zoo.stream.batch) == ("radam", 2e-4, 2)
    assert (zoo.epochs, zoo.optimiser.plateau, zoo.patience) == (368, 48, 144)


def test_settings_are_frozen_and_take_no_unknown_key() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        recipes.smoke_seg().epochs = 3
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Recipe.model_validate(recipes.smoke_seg().model_dump() | {"epohcs": 3})


def test_override_reaches_nested_settings_and_leaves_the_rest() -> None:
    base = recipes.smoke_seg()
    made = recipes.override(base, ["epochs=3", "network.box=6,32,48", "optimiser.plateau=5", "augment=false"])
    assert (made.epochs, made.network.box, made.optimiser.plateau, made.augment) == (3, (6, 32, 48), 5, False)
    assert recipes.override(made, ["optimiser.plateau=null"]).optimiser.plateau is None
    assert made.network.width == base.network.width
    assert recipes.override(Tensorize(), ["splits.holdout=0.5"]).splits.holdout == 0.5


@pytest.mark.parametrize(("assignment", "says"), [
    ("epohcs=3", "--set epohcs: no such setting; did you mean epochs"),
    ("lr=0.1", "--set lr: no such setting; did you mean optimiser.lr?"),
    ("optimiser.lrr=0.1", "did you mean optimiser.lr"),
    ("network=3", "network: "),
    ("epochs.x=3", "--set epochs.x: no such setting"),
    ("epochs", "--set epochs: name=value is wanted"),
    ("epochs=0", "epochs: Input should be greater than 0"),
    ("epochs=many", "epochs: Input should be a valid integer"),
    ("optimiser.lr=NaN", "optimiser.lr: Input should be a finite number"),
    ("target.mean_g=Infinity", "target.mean_g: Input should be a finite number"),
    ("network.kind=both", "network.kind: Input should be 'reg' or 'seg'"),
    ("network.box=8,30,32", "rows and columns must be multiples of 8"),
    ("workers=9", "9 workers need at least as many lanes, not 4"),
    ("stream.batch=3", "batch 3 is not a multiple of lanes 4"),
])
def test_a_bad_setting_is_one_line(assignment: str, says: str) -> None:
    with pytest.raises(UseError) as caught:
        recipes.override(recipes.smoke_seg(), [assignment])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_splits_that_leave_nobody_to_train_on() -> None:
    with pytest.raises(UseError, match="leave nobody to train on"):
        recipes.override(Tensorize(), ["splits.holdout=0.9"])


def test_a_recipe_file(tmp_path: Path) -> None:
    mine = recipes.smoke_reg().model_dump(mode="json") | {"name": "mine", "epochs": 7}
    (tmp_path / "mine.json").write_text(json.dumps(mine))
    assert recipes.named(str(tmp_path / "mine.json")).epochs == 7
    (tmp_path / "typo.json").write_text(json.dumps(mine | {"epohcs": 7}))
    with pytest.raises(UseError, match="epohcs: Extra inputs"):
        recipes.named(str(tmp_path / "typo.json"))
    (tmp_path / "cut.json").write_text("{")
    for name in ("cut.json", "absent.json"):
        with pytest.raises(UseError, match="the recipe file cannot be read as JSON"):
            recipes.named(str(tmp_path / name))


def test_an_unknown_recipe_lists_those_there_are() -> None:
    with pytest.raises(UseError, match=r"no recipe named 'smoke_sge'; there are: paper_reg, .*smoke_seg"):
        recipes.named("smoke_sge")
