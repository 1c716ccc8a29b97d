"""A worker of Ray Train: runs the loop, and stands between it and the command's board."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import ray
import torch
from ray import train
from ray.exceptions import RayError
from ray.train.torch import get_device
from ray.train.v2._internal.execution.context import get_train_context

from lvray.errors import EnvironmentFault, LvrayError, internal
from lvray.jobs import loop
from lvray.jobs.board import Line, Order
from lvray.jobs.claim import begun_with
from lvray.jobs.job import Job, Place
from lvray.jobs.mode import mode_of
from lvray.jobs.selection import selected
from lvray.jobs.state import Position
from lvray.nets.step import deterministic
from lvray.settings import Recipe
from lvray.shards.dataset import open_dataset
from lvray.shards.patience import patiently

POLL_SECONDS = 0.2
GRACE_SECONDS = 20.0
"""A worker that got SIGTERM waits so long for the first worker's checkpoint."""
TERMINATED = 128 + signal.SIGTERM
_terminated = threading.Event()


def work(config: dict[str, Any]) -> None:
    """The loop of one worker. A fault of the data, the store or the run goes to the board.

    It is raised too, since the other workers wait for this one; Ray then starts them all anew, to find it on the board.
    """
    board, rank = config["board"], train.get_context().get_world_rank()
    try:
        if rank == 0 and not ray.get(board.failed.remote()):
            ray.get(board.start.remote())
        if ray.get(board.failed.remote()):
            return
        loop.run(_job(config, RayLink(board, first=rank == 0)))
    except LvrayError as fault:
        ray.get(board.fail.remote(fault))
        raise
    except Exception as error:
        if _own(error):
            ray.get(board.fail.remote(LvrayError(internal(error))))
        elif not isinstance(error, RayError):
            ray.get(board.lose.remote(internal(error)))
        raise


def _own(error: Exception) -> bool:
    """Whether an error will come again. Where another worker was lost, torch.distributed raises a RuntimeError."""
    lost = type(error) is RuntimeError and train.get_context().get_world_size() > 1
    return not lost and not isinstance(error, RayError | torch.distributed.DistError)


def _job(config: dict[str, Any], link: RayLink) -> Job:
    context, device = train.get_context(), get_device()
    assert isinstance(device, torch.device)
    recipe = Recipe.model_validate(config["recipe"])
    torch.set_num_threads(recipe.threads)
    deterministic(device)
    place = Place(context.get_world_rank(), context.get_world_size(), device, "ray")
    if patiently(lambda: begun_with(config["run"])) is None:
        raise EnvironmentFault("a worker does not see the run's folder: give --run on storage that all nodes share")
    dataset = patiently(lambda: open_dataset(*config["data"]))
    mode = mode_of(recipe, config["run"], place)
    return Job(recipe, mode, dataset, selected(dataset, recipe), config["run"], place, link)


class RayLink:
    """The loop's Link (jobs/job.py). A thread looks for orders, SIGTERM and Ray's notice that a node will go."""

    def __init__(self, board: Any, first: bool) -> None:
        self._board, self._first = board, first
        self._asked: Order = "go"
        me: Any = ray.get_runtime_context().current_actor
        ray.get(me.__ray_call__.remote(_on_sigterm))  # on the actor's main thread; training runs on another
        threading.Thread(target=self._watch, daemon=True, name="orders").start()

    def tell(self, lines: list[Line]) -> None:
        for line in lines:
            if "begins" in line:
                ray.get(self._board.begin.remote(line["begins"]))
        ray.get(self._board.tell.remote(lines))

    def asked(self) -> Order:
        return self._asked

    def saved(self, order: Order, position: Position) -> None:
        ray.get(self._board.saved.remote(order, position))
        self._asked = "go"

    def validated(self, entry: Line) -> None:
        train.report(entry)

    def _watch(self) -> None:
        noticed = False
        while True:
            try:
                if _terminated.is_set():
                    self._have_saved()
                    os._exit(TERMINATED)
                if not noticed and _node_will_go():
                    noticed = True
                    ray.get(self._board.ask.remote("save"))
                if self._first:
                    self._asked = ray.get(self._board.asked.remote())
            except RayError:  # the command has gone, and Ray with it
                os._exit(TERMINATED)
            time.sleep(POLL_SECONDS)

    def _have_saved(self) -> None:
        """Have the first worker save, and wait for it."""
        ray.get(self._board.ask.remote("save"))
        self._asked = "save"
        end = time.monotonic() + GRACE_SECONDS
        while ray.get(self._board.asked.remote()) == "save" and time.monotonic() < end:
            time.sleep(POLL_SECONDS)


def _node_will_go() -> bool:
    """ray.train.get_preemption_info without its barrier: this is another thread than training's."""
    return get_train_context().preemption_context.preemption_info is not None


def _on_sigterm(worker: Any) -> None:
    signal.signal(signal.SIGTERM, lambda *_: _terminated.set())
