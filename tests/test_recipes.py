"""Recipes and settings: every name is a valid recipe, and a setting that does not exist is an error, never ignored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from lvray import recipes
from lvray.errors import UseError
from lvray.settings import Network, Recipe, Tensorize


@pytest.mark.parametrize("name", recipes.ALL)
def test_a_recipe_is_named_as_its_function_and_survives_json(name: str) -> None:
    recipe = recipes.named(name)
    assert recipe.name == name
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert recipe.for_show == name.startswith("smoke_")


def test_no_recipe_shipped_holds_a_setting_without_an_effect() -> None:
    for name in recipes.ALL:
        recipe = recipes.named(name)
        changed = [n for n, v in recipes.flat(recipe).items() if v != recipes.flat(_plain(recipe)).get(n, v)]
        assert recipes.without_effect(recipe, [f"{n}=" for n in changed]) == []


def _plain(recipe: Recipe) -> Recipe:
    return Recipe(name=recipe.name, network=Network(kind=recipe.network.kind), epochs=recipe.epochs)


def test_the_papers_recipes_hold_the_papers_values() -> None:
    for recipe in (recipes.paper_reg(), recipes.paper_seg()):
        assert (recipe.optimiser.name, recipe.optimiser.lr, recipe.stream.batch) == ("adam", 1e-3, 4)
        assert recipe.network.box == (13, 256, 256)
        assert (recipe.network.width, recipe.network.pixel_size, recipe.network.centre) == (32, True, "image")
        assert (recipe.optimiser.plateau, recipe.optimiser.clip, recipe.augment) == (None, None, False)
        assert recipe.optimiser.gamma < 1
        assert (recipe.target.mean_g, recipe.target.sd_g) == (89.7037, 24.8037)
    zoo = recipes.zoo_seg()
    assert (zoo.optimiser.name, zoo.optimiser.lr, zoo.stream.batch) == ("radam", 2e-4, 2)
    assert (zoo.epochs, zoo.optimiser.plateau, zoo.patience) == (368, 48, 144)
    assert (zoo.network.pixel_size, zoo.optimiser.gamma) == (False, 1)


def test_what_tests_and_the_demo_train_depends_on_no_measurement() -> None:
    for recipe in (recipes.smoke_reg(), recipes.smoke_seg()):
        assert (recipe.step.precision, recipe.step.channels_last, recipe.step.compile) == ("fp32", True, False)


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
    ("optimiser.lrr=0.1", "--set optimiser.lrr: no such setting; did you mean optimiser.lr?"),
    ("optimizer.lr=0.1", "did you mean optimiser.lr?"),
    ("netwrok.widht=8", "did you mean network.width?"),
    ("widht=8", "did you mean network.width?"),
    ("batch_size=8", "did you mean stream.batch?"),
    ("foo=1", "--set foo: no such setting"),
    ("network=3", "--set network: a group of settings: set one of network.kind, network.width, "),
    ("epochs.x=3", "--set epochs.x: no such setting"),
    ("epochs", "--set epochs: name=value is wanted"),
    ("epochs=0", "epochs: Input should be greater than 0"),
    ("epochs=many", "epochs: Input should be a valid integer"),
    ("optimiser.lr=NaN", "optimiser.lr: Input should be a finite number"),
    ("target.mean_g=Infinity", "target.mean_g: Input should be a finite number"),
    ("network.kind=both", "network.kind: Input should be 'reg' or 'seg'"),
    ("augment=5", "augment: Input should be a valid boolean"),
    ("step.channels_last=5", "step.channels_last: Input should be 'auto', or Input should be a valid boolean"),
    ("step.precision=fp16", "step.precision: Input should be 'auto', 'fp32' or 'bf16'"),
    ("network.box=8,a,16", "network.box.1: Input should be a valid integer"),
    ("network.box=8,16", "network.box.2: Field required"),
    ("network.box=8,30,32", "rows and columns must be multiples of 8"),
    ("stream.batch=3", "batch 3 is not a multiple of lanes 4"),
])
def test_a_bad_setting_is_one_line(assignment: str, says: str) -> None:
    with pytest.raises(UseError) as caught:
        recipes.override(recipes.smoke_seg(), [assignment])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_of_several_bad_settings_the_first_is_named_alone() -> None:
    with pytest.raises(UseError) as caught:
        recipes.override(recipes.smoke_seg(), ["patience=few", "epochs=0"])
    assert str(caught.value) == "epochs: Input should be greater than 0"


def test_splits_that_leave_nobody_to_train_on() -> None:
    with pytest.raises(UseError, match="leave nobody to train on"):
        recipes.override(Tensorize(), ["splits.holdout=0.9"])


def test_a_recipe_file(tmp_path: Path) -> None:
    mine = recipes.smoke_reg().model_dump(mode="json") | {"name": "mine", "epochs": 7}
    (tmp_path / "mine.json").write_text(json.dumps(mine))
    assert recipes.named(str(tmp_path / "mine.json")).epochs == 7
    (tmp_path / "typo.json").write_text(json.dumps(mine | {"epohcs": 7}))
    with pytest.raises(UseError, match=r"epohcs: no such setting; did you mean epochs\?"):
        recipes.named(str(tmp_path / "typo.json"))
    (tmp_path / "cut.json").write_text("{")
    for name in ("cut.json", "absent.json"):
        with pytest.raises(UseError, match="the recipe file cannot be read as JSON"):
            recipes.named(str(tmp_path / name))


@pytest.mark.parametrize(("name", "near"), [
    ("smoke_sge", "; did you mean smoke_seg?"), ("fast-reg", "; did you mean fast_reg?"),
    ("paper", "; did you mean paper_reg or paper_seg?"), ("nnunet", ""), ("runs/1234567/x", "")])
def test_an_unknown_recipe_lists_those_there_are_and_names_the_near_ones(name: str, near: str) -> None:
    with pytest.raises(UseError) as caught:
        recipes.named(name)
    assert str(caught.value) == f"no recipe of that name; there are: {', '.join(recipes.ALL)}, or a JSON file{near}"


def test_every_recipe_says_in_a_line_what_it_is() -> None:
    assert all(20 < len(line) < 110 and line.endswith(".") for line in recipes.described().values())
    assert list(recipes.described()) == list(recipes.ALL)


def test_the_flat_names_are_those_that_override_takes() -> None:
    for make in recipes.ALL.values():
        assignments = [f"{name}={json.dumps(value)}" for name, value in recipes.flat(make()).items()]
        assert recipes.override(recipes.override(make(), ["stream.seed=5"]), assignments) == make()


def test_more_workers_than_lanes() -> None:
    recipe = recipes.override(recipes.smoke_seg(), ["stream.batch=6", "stream.lanes=3"])
    recipes.check_workers(recipe, 3)
    with pytest.raises(UseError, match=r"4 workers need .* not 3: .* --set stream.lanes=4 --set stream.batch=8, "):
        recipes.check_workers(recipe, 4)


@pytest.mark.parametrize(("sets", "facts", "idle"), [
    (["target.mean_g=80", "target.sd_g=9"], {}, {"target.mean_g": "masks alone", "target.sd_g": "masks alone"}),
    (["network.kind=reg", "target.mean_g=80"], {}, {}),
    (["network.pitch=true"], {}, {}),
    (["network.pitch=true", "network.pixel_size=false"], {}, {"network.pitch": "network.pixel_size is false"}),
    (["network.pixel_size=false"], {}, {}),
    (["epochs=1", "optimiser.gamma=0.9"], {}, {"optimiser.gamma": "there is one"}),
    (["epochs=2", "optimiser.gamma=0.9"], {}, {}),
    (["epochs=3"], {}, {}),  # the recipe's own validate_epochs=4 was not set by hand
    (["epochs=3", "validate_epochs=4"], {}, {"validate_epochs": "of 3 epochs is always validated"}),
    (["epochs=4", "validate_epochs=4"], {}, {}),
    (["patience=33"], {}, {"patience": "a run of 40 epochs, validated each 4, ends before it counts"}),
    (["patience=32"], {}, {}),
    (["optimiser.plateau=33"], {}, {"optimiser.plateau": "ends before it counts"}),
    (["optimiser.plateau=32"], {}, {}),
    (["optimiser.plateau=8", "patience=8"], {}, {"optimiser.plateau": "patience=8 ends the run before"}),
    (["optimiser.plateau=8", "patience=12"], {}, {}),
    (["optimiser.plateau=8"], {"validation_rows": 0}, {"optimiser.plateau": "no study to validate on"}),
    (["patience=8"], {"validation_rows": 0}, {"patience": "no study to validate on"}),
    (["optimiser.plateau=null", "patience=null"], {"validation_rows": 0}, {}),
    (["step.accumulate=4"], {"workers": 1}, {}),
    (["step.accumulate=4"], {"workers": 3}, {"step.accumulate": "beyond 2, the rows"}),
    (["step.accumulate=2"], {"workers": 3}, {}),
    (["epochs=3", "epochs=5"], {}, {"epochs": "the last value counts"}),
])
def test_settings_by_hand_without_an_effect(sets: list[str], facts: dict[str, int], idle: dict[str, str]) -> None:
    lines = recipes.without_effect(recipes.override(recipes.smoke_seg(), sets), sets, **facts)
    assert [line.partition(" ")[0] for line in lines] == list(idle)
    assert all(why in line for line, why in zip(lines, idle.values(), strict=True))


def test_a_pitch_that_pixel_size_shuts_out() -> None:
    sets = ["network.pixel_size=false"]
    [line] = recipes.without_effect(recipes.override(recipes.fast_reg(), sets), sets)
    assert line.startswith("network.pitch has no effect: ")


def test_the_longest_patience_that_counts_ends_a_run_early() -> None:
    """Which patience can end a run, found by trying: validations after the first never better."""
    for epochs in range(1, 12):
        for every in range(1, 6):
            at = [e for e in range(1, epochs + 1) if e % every == 0 or e == epochs]
            waits = [every * n for n in range(len(at))]
            for patience in range(1, 13):
                ends_early = any(wait >= patience for wait in waits[:-1])
                sets = [f"epochs={epochs}", f"validate_epochs={every}", f"patience={patience}"]
                said = recipes.without_effect(recipes.override(recipes.smoke_seg(), sets), sets)
                assert any(line.startswith("patience ") for line in said) != ends_early, sets
