"""What decides the learning rate and the end of a run, and what becomes of a fault."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lvray import recipes
from lvray.errors import EnvironmentFault, UseError
from lvray.jobs import worker
from lvray.jobs.train import Board
from lvray.jobs.worker import Progress
from lvray.settings import Recipe


def after(recipe: Recipe, losses: list[float | None]) -> tuple[Progress, int | None]:
    """Progress after those validations, and which one (from 1) ended the run."""
    progress = Progress()
    for number, loss in enumerate(losses, 1):
        worker._note(recipe, progress, {"epoch": number, **({} if loss is None else {"validation_loss": loss})})
        if worker._out_of_patience(recipe, progress):
            return progress, number
    return progress, None


def test_patience_counts_epochs_since_the_best() -> None:
    recipe = recipes.override(recipes.smoke_reg(), ["patience=8", "validate_epochs=4"])
    progress, ended = after(recipe, [3.0, 2.0, 2.5, 2.0, 1.0])
    assert (progress.best, ended) == (2.0, 4)
    assert after(recipes.smoke_reg(), [3.0, 4.0, 5.0])[1] is None


def test_the_rate_halves_on_each_plateau() -> None:
    recipe = recipes.override(recipes.smoke_reg(), ["optimiser.plateau=2", "validate_epochs=1"])
    assert [after(recipe, [1.0] * n)[0].halvings for n in range(1, 7)] == [0, 0, 1, 1, 2, 2]
    assert after(recipe, [1.0, 1.0, 0.9, 0.9])[0].halvings == 0


def test_without_validation_the_latest_is_the_best() -> None:
    recipe = recipes.override(recipes.smoke_reg(), ["patience=1", "validate_epochs=1"])
    progress, ended = after(recipe, [None, None, None])
    assert (progress.best, progress.since_best, ended) == (None, 0, None)


class Local:
    """A handle of an actor that lives here."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def __getattr__(self, name: str) -> Any:
        return type("Method", (), {"remote": staticmethod(getattr(self.board, name))})


def test_a_fault_goes_to_the_board_and_ends_the_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def fails(*arguments: object) -> None:
        tried.append(arguments)
        raise UseError("shard train-0 is missing")

    board = Board()
    config = {"recipe": recipes.smoke_seg().model_dump(), "data": ("somewhere", ""), "board": Local(board)}
    monkeypatch.setattr("ray.get", lambda value: value)
    monkeypatch.setattr(worker, "_work", fails)
    with pytest.raises(UseError):  # the other workers, which wait for this one, are stopped by Ray
        worker.work(config)
    assert str(board.take()[1]) == "shard train-0 is missing"
    worker.work(config)  # Ray starts all of them again
    assert len(tried) == 1


def test_a_disk_that_fills_up_under_rays_copy_is_the_environments_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, "no room", "/data/1234567")

    recipe, model = recipes.smoke_seg(), torch.nn.Linear(1, 1)
    monkeypatch.setattr("lvray.nets.checkpoint.write", lambda *arguments: None)
    monkeypatch.setattr(worker, "_ranges", lambda *arguments: {})
    monkeypatch.setattr("ray.train.report", full)
    dataset: Any = SimpleNamespace(checksum="")
    with pytest.raises(EnvironmentFault, match="No space left on device") as caught:
        worker._report(recipe, dataset, np.array([0]), model, torch.optim.Adam(model.parameters()), Progress(),
                       {"epoch": 1}, rank=0)
    assert "1234567" not in str(caught.value)
