"""A trial around its training run, which is played here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lvray.errors import EnvironmentFault, LvrayError, UseError
from lvray.jobs import train, trial
from lvray.jobs.trial import End, Plan
from lvray.nets.checkpoint import CHECKSUMS
from lvray.recipes import smoke_seg
from lvray.settings import Recipe
from lvray.shards import storage


def entry(epoch: int, loss: float) -> dict[str, Any]:
    return {"epoch": epoch, "loss": 1.0, "validation_loss": loss}


def reported(*pairs: tuple[int, float]) -> list[dict[str, Any]]:
    return [{"epoch": epoch, "score": score} for epoch, score in pairs]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(smoke_seg(), "data", str(tmp_path), (1, 2), 3, ("tensorboard",))


def never() -> bool:
    return False


class Training:
    """Stands for train.train: it tells the entries that are not in `before`, and raises `fault` after them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, entries: list[dict[str, Any]], before: int = 0,
                 fault: Exception | None = None) -> None:
        self.entries, self.before, self.fault = entries, before, fault
        self.asked: list[Any] = []
        monkeypatch.setattr(trial, "history", lambda run, number: entries[:before])
        monkeypatch.setattr(trial, "train", self.train)

    def train(self, recipe: Recipe, data: str, run: str, **options: Any) -> train.Run:
        tell = options.pop("tell")
        self.asked.append((recipe, data, run, options))
        tell({"begins": [0, 0]})
        for one in self.entries[self.before:]:
            tell({"epoch": one["epoch"], "step": 1, "loss": 2.0})
            tell(one)
        if self.fault is not None:
            raise self.fault
        return train.Run("best", 1, 1, 0, self.entries)


@pytest.mark.parametrize("before", [0, 1, 3])
def test_every_validation_is_reported_once_with_the_best_so_far(monkeypatch: pytest.MonkeyPatch, plan: Plan,
                                                                before: int) -> None:
    training = Training(monkeypatch, [entry(2, 0.5), entry(4, 0.7), entry(6, 0.3)], before)
    found: list[dict[str, Any]] = []
    trial.run(5, {"optimiser.gamma": 0.9}, plan, found.append, never)
    assert found == reported((2, 0.5), (4, 0.5), (6, 0.3))
    [(recipe, data, run, options)] = training.asked
    assert (recipe.optimiser.gamma, data, run) == (0.9, "data", f"{plan.run}/trials/05")
    assert options == {"workers": (1, 2), "runs": 3, "track": ("tensorboard",)}
    assert trial.end_of(plan.run, 5) == End("done", 6)


def test_a_stopped_trial_is_told_again_and_not_trained(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    training = Training(monkeypatch, [entry(2, 0.5), entry(4, 0.4), entry(6, 0.3)], before=3)
    trial.close(plan.run, 0, End("stopped", 4))
    found: list[dict[str, Any]] = []
    trial.run(0, {}, plan, found.append, never)
    assert (found, training.asked) == (reported((2, 0.5), (4, 0.4)), [])


def test_one_that_is_stopped_is_left_at_its_next_line(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    Training(monkeypatch, [entry(2, 0.5), entry(4, 0.4)])
    found: list[dict[str, Any]] = []
    trial.run(0, {}, plan, found.append, lambda: bool(found))
    assert found == reported((2, 0.5))
    assert trial.end_of(plan.run, 0) is None  # the search says so


def test_a_fault_of_its_own_ends_it(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    Training(monkeypatch, [entry(2, 0.5)], fault=LvrayError("the loss is not finite"))
    trial.run(0, {}, plan, lambda result: None, never)
    assert trial.end_of(plan.run, 0) == End("failed", 2, "the loss is not finite")


def test_a_store_that_fails_is_for_another_try(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    Training(monkeypatch, [entry(2, 0.5)], fault=EnvironmentFault("the store is gone"))
    with pytest.raises(EnvironmentFault):
        trial.run(0, {}, plan, lambda result: None, never)
    assert trial.end_of(plan.run, 0) is None


def test_the_first_end_counts(plan: Plan) -> None:
    trial.close(plan.run, 7, End("done", 9))
    trial.close(plan.run, 7, End("stopped", 9))
    assert trial.end_of(plan.run, 7) == End("done", 9)


def test_an_end_that_is_damaged_is_one_line(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "trials" / "00").mkdir(parents=True)
    (tmp_path / "trials" / "00" / trial.END).write_text("{")
    with pytest.raises(UseError, match=r"end\.json of trial 0 is damaged"):
        trial.end_of(plan.run, 0)


def test_the_history_of_a_run_that_is_done_is_its_file(plan: Plan) -> None:
    assert trial.history(plan.run, 1) == ()
    run = Path(trial.where(plan.run, 1))
    storage.make_folder(str(run / "best"), "the run")
    (run / "best" / CHECKSUMS).write_text("{}")
    (run / train.HISTORY).write_text(json.dumps([entry(2, 0.5)]))
    assert trial.history(plan.run, 1) == [entry(2, 0.5)]
