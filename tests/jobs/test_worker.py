"""What becomes of a fault in a worker, and of workers that are lost again and again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lvray import recipes
from lvray.errors import LvrayError, Stopped, UseError
from lvray.jobs import board, worker
from lvray.jobs.board import Board


class Local:
    """A handle of an actor that lives here."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def __getattr__(self, name: str) -> Any:
        return type("Method", (), {"remote": staticmethod(getattr(self.board, name))})


def test_a_fault_goes_to_the_board_and_ends_the_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def fails(*arguments: object) -> None:
        tried.append(arguments)
        raise UseError("shard train-0 is missing")

    made = Board()
    config = {"recipe": recipes.smoke_seg().model_dump(), "data": ("x", ""), "run": str(tmp_path), "board": Local(made)}
    monkeypatch.setattr("ray.get", lambda value: value)
    monkeypatch.setattr("ray.train.get_context", lambda: SimpleNamespace(get_world_rank=lambda: 0))
    monkeypatch.setattr(worker, "RayLink", lambda *arguments, **named: None)
    monkeypatch.setattr(worker, "_job", fails)
    with pytest.raises(UseError):  # the other workers, which wait for this one, are stopped by Ray
        worker.work(config)
    assert str(made.take().fault) == "shard train-0 is missing"
    worker.work(config)  # Ray starts all of them again
    assert len(tried) == 1


def test_workers_that_are_lost_before_each_checkpoint_end_the_run() -> None:
    made = Board()
    for _ in range(board.STARTS):
        made.start()
        made.begin((3, 2))
    assert made.take().fault is None
    made.begin((3, 3))
    for _ in range(board.STARTS):
        made.start()
    fault = made.take().fault
    assert isinstance(fault, LvrayError)
    assert "lost 8 times in a row after epoch 4, step 3" in str(fault)


def test_what_ends_them_is_named_where_it_is_known() -> None:
    made = Board()
    made.lose("lvray itself failed (RuntimeError in nets/step.py, line 7): please report this line")
    for _ in range(board.STARTS + 1):
        made.start()
    assert "look for what ends them (lvray itself failed (RuntimeError in nets/step.py" in str(made.take().fault)


def test_orders_are_kept_until_done_and_stop_is_for_good() -> None:
    made = Board()
    made.ask("save")
    assert made.asked() == "save"
    made.saved("save", (0, 1))
    assert made.asked() == "go"
    made.ask("stop")
    made.ask("save")
    assert made.asked() == "stop"
    made.saved("stop", (1, 2))
    assert isinstance(made.take().fault, Stopped)


def test_the_first_fault_counts_and_asks_all_to_stop() -> None:
    made = Board()
    made.fail(UseError("first"))
    made.fail(LvrayError("follows from it"))
    assert (str(made.take().fault), made.asked()) == ("first", "stop")
