"""A small search by the command, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lvray import recipes
from lvray.jobs import trial
from lvray.nets.predict import load
from lvray.settings import Splits
from lvray.shards import folders
from lvray.shards.dataset import Dataset
from tests.chaos import processes
from tests.conftest import Said
from tests.jobs.conftest import SMALL, TENSORIZE, tiny_dataset, tiny_row
from tests.shards.conftest import write_to

EPOCHS, TRIALS = 9, 3
SETS = [*SMALL, f"epochs={EPOCHS}"]


def arguments(data: object, run: object, *more: object, trials: int = TRIALS) -> list[object]:
    values = {name: value for name, _, value in (one.partition("=") for one in SETS)}
    return ["tune", "smoke_reg", "--data", data, "--run", run, "--trials", trials, "--json",
            *(f"--set={name}={value}" for name, value in values.items()), *more]


@dataclass(frozen=True)
class Search:
    """A search that is done: its folder, and what the command said."""

    folder: Path
    said: Said


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_dataset(str(tmp_path_factory.mktemp("tiny") / "data"))


@pytest.fixture(scope="module")
def search(tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Search:
    folder = tmp_path_factory.mktemp("search") / "run"
    command = processes.start(*arguments(tiny.uri, folder))
    out, err = command.communicate(timeout=300)
    assert command.returncode == 0, err
    return Search(folder, Said(command.returncode, out, err))


def test_every_trial_is_accounted_for(search: Search) -> None:
    [summary] = search.said.objects()
    assert summary | {"best_checkpoint": None} == {"best_checkpoint": None} | json.loads(
        (search.folder / "tune.json").read_text())
    assert [at["trial"] for at in summary["trials"]] == list(range(TRIALS))
    assert {at["state"] for at in summary["trials"]} <= {"done", "stopped"}
    assert summary["trials"][0]["values"] == {"optimiser.gamma": 0.95}
    for at in summary["trials"]:
        history = trial.history(str(search.folder), at["trial"])
        assert (at["epochs"], at["validation_loss"]) == (history[-1]["epoch"], trial.score(history))
        assert at["state"] == "stopped" or at["epochs"] == EPOCHS
    assert summary["epochs"] == sum(at["epochs"] for at in summary["trials"])
    assert (search.folder / "tune.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize(("store", "more"), [("file", "--workers=2"), ("s3", "--concurrent=2")])
def test_trials_of_two_workers_and_two_trials_at_a_time(request: pytest.FixtureRequest, tmp_path: Path, store: str,
                                                        more: str) -> None:
    """A trial that is stopped early leaves its CPUs to the next one, or the search would not end."""
    base = str(tmp_path) if store == "file" else request.getfixturevalue("s3")
    command = processes.start(*arguments(tiny_dataset(f"{base}/data").uri, f"{base}/run", more, trials=5))
    out, err = command.communicate(timeout=500)
    assert command.returncode == 0, err
    [summary] = Said(0, out, err).objects()
    assert {at["state"] for at in summary["trials"]} == {"done", "stopped"}
    assert summary["best"]["validation_loss"] == min(at["validation_loss"] for at in summary["trials"])
    with folders.local(f"{base}/run/best", "the checkpoint") as best:
        assert load(best).checkpoint.metrics["validation_loss"] == summary["best"]["validation_loss"]


def test_the_best_epoch_of_the_best_trial_is_promoted(search: Search) -> None:
    [summary] = search.said.objects()
    best = summary["best"]
    assert best["validation_loss"] == min(at["validation_loss"] for at in summary["trials"])
    predictor = load(search.folder / "best")
    assert predictor.checkpoint.epoch == best["epoch"]
    assert predictor.checkpoint.metrics["validation_loss"] == best["validation_loss"]
    assert predictor.checkpoint.settings["optimiser"]["gamma"] == best["values"]["optimiser.gamma"]


def test_the_winners_recipe_is_one_for_train(search: Search) -> None:
    [summary] = search.said.objects()
    assert recipes.named(str(search.folder / "recipe.json")) == recipes.override(
        recipes.smoke_reg(), [*SETS, f"optimiser.gamma={summary['best']['values']['optimiser.gamma']!r}"])


def test_the_same_again_returns_at_once(lvray: Callable[..., Said], ray_cluster: None, tiny: Dataset,
                                        search: Search) -> None:
    before = {path: path.stat().st_mtime_ns for path in search.folder.rglob("*") if path.is_file()}
    again = lvray(*arguments(tiny.uri, search.folder))
    assert (again.code, again.out) == (0, search.said.out)
    assert {path: path.stat().st_mtime_ns for path in search.folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("more", "says"), [
    (["--set=optimiser.clip=0.5"], "--run belongs to other settings or data (optimiser.clip: None there, 0.5 now)"),
    (["--seed=1"], "--run belongs to other settings or data (seed: 0 there, 1 now)"),
])
def test_a_folder_belongs_to_one_search(lvray: Callable[..., Said], ray_cluster: None, tiny: Dataset, search: Search,
                                        more: list[str], says: str) -> None:
    said = lvray(*arguments(tiny.uri, search.folder, *more))
    assert said.code == 2
    assert says in said.err


@pytest.mark.parametrize(("more", "says"), [
    (["--trials=0"], "--trials"),
    (["--concurrent=0"], "--concurrent"),
    (["--concurrent=3"], "trials of 1 workers, 3 at a time, need 3 CPUs, and the cluster has 2: --concurrent 2"),
    (["--workers=3"], "trials of 3 workers, 1 at a time, need 3 CPUs, and the cluster has 2: --workers 2"),
    (["--workers=9"], "9 workers need at least as many lanes"),
    (["--space=absent.json"], "--space: the file cannot be read"),
    (["--set=optimiser.gama=1"], "did you mean optimiser.gamma"),
])
def test_what_cannot_be_searched_begins_nothing(lvray: Callable[..., Said], ray_cluster: None, tiny: Dataset,
                                                tmp_path: Path, more: list[str], says: str) -> None:
    said = lvray(*arguments(tiny.uri, tmp_path / "run", *more))
    assert said.code == 2
    assert says in said.err
    assert len(said.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_space_with_an_unknown_setting_begins_nothing(lvray: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "space.json").write_text('{"optimiser.gama": {"low": 0.9, "high": 1}}')
    said = lvray(*arguments("absent", tmp_path / "run", "--space", tmp_path / "space.json"))
    assert (said.code, said.err) == (2, "lvray: --space: optimiser.gama: no such setting; did you mean"
                                        " optimiser.gamma?\n")


def test_data_without_validation_studies(lvray: Callable[..., Said], ray_cluster: None, tmp_path: Path) -> None:
    alone = TENSORIZE.model_copy(update={"splits": Splits(validation=0.0, calibration=0.0, holdout=0.0)})
    rows: list[Any] = [tiny_row(number, split="train") for number in range(8)]
    data = write_to(str(tmp_path / "data"), rows, alone).uri
    said = lvray(*arguments(data, tmp_path / "run"))
    assert said.code == 2
    assert "no study to validate on: a search compares validations" in said.err
