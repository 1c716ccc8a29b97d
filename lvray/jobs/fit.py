"""Runs the workers of a training job in Ray Train, and listens: to them, and to whoever tells this process to end."""

from __future__ import annotations

import errno
import math
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lvray.errors import EnvironmentFault, LvrayError, Stopped, UseError
from lvray.jobs.board import Board, Line, Taken
from lvray.jobs.told import Thread, ended, told_to_end
from lvray.jobs.worker import work
from lvray.nets.step import ENVIRONMENT
from lvray.settings import Recipe
from lvray.shards import storage

POLL_SECONDS = 0.2
SAVE_SECONDS = 25.0
"""A run that is told to end waits so long for its workers' checkpoint: Kubernetes kills after 30."""
MAX_FAILURES = 1000
"""Workers or nodes lost before a run gives up. The board ends one that gets nowhere much sooner."""
DISK_REFUSES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)

ROOM_SECONDS = 10.0
"""So often a silent run looks whether the cluster still has room for it."""

Hear = Callable[[list[Line]], None]
Workers = tuple[int, int]
"""Fewest and most."""


class Leave(Exception):
    """Raised by `hear`: the run is to be saved and left."""


def fit(recipe: Recipe, data: tuple[str, str], run: str, workers: Workers, hear: Hear,
        beside: Callable[[], None], runs: int) -> None:
    """Train to the end. hear: given the workers' lines, in this thread; beside: runs on a thread meanwhile; runs: that
    share the cluster, this one among them.

    data: URI and checksum of the manifest. Stopped: SIGTERM came; the run is saved, or its workers do not answer.
    KeyboardInterrupt: the same of Ctrl-C. A LvrayError of `beside` ends the run as one of the workers does. Leave: of
    `hear`; the run is saved.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(Board)
    board = actor.options(num_cpus=0, scheduling_strategy=here).remote()
    scaling = _scaling(recipe, workers, runs)
    trainer = _trainer(run, scaling, {"recipe": recipe.model_dump(mode="json"), "data": data, "run": run,
                                      "board": board})
    running = [Thread(trainer.fit), Thread(beside)]
    with told_to_end() as told:
        try:
            _listen(board, hear, running, told, _Room(scaling, workers[0], hear))
        except RayError as error:
            if told:  # a signal to all processes of a group ends a local Ray too
                raise ended(told[0]) from error
            raise failure(error) from error
        except Leave:
            ray.get(board.ask.remote("stop"))
            _hear_out(board, hear, running[0])
            raise
        finally:
            if running[0].is_alive():  # the workers may outlive this call
                with suppress(RayError):
                    ray.get(board.ask.remote("stop"))
    for thread in running:
        if thread.error is not None:
            raise failure(thread.error)


def _listen(board: Any, hear: Hear, running: list[Thread], told: list[int], room: _Room) -> None:
    """Until the threads of `running` (the training, and what goes on beside it) have ended."""
    training, beside = running
    while training.is_alive() or beside.is_alive():
        time.sleep(POLL_SECONDS)
        if beside.error is not None:
            raise beside.error
        if told:
            _stop(board, hear, told[0], training)
        if not _heard(board, hear):
            room.look()
    _heard(board, hear)


def check_room(workers: Workers, runs: int) -> None:
    """UseError: so many runs at a time, each of its fewest workers, have no room on the cluster, with what has."""
    needed, there = workers[0] * runs, ray.cluster_resources()
    kind = "GPU" if there.get("GPU", 0) else "CPU"
    room = int(there.get(kind, 0))
    if needed > room:
        fits = f"--concurrent {room // workers[0]}" if room >= workers[0] else f"--workers {room} --concurrent 1"
        raise UseError(f"trials of {workers[0]} workers, {runs} at a time, need {needed} {kind}s, and the cluster has"
                       f" {room}: {fits} would fit")


def _scaling(recipe: Recipe, workers: Workers, runs: int) -> ScalingConfig:
    """A GPU a worker where there are any. UseError: fewer than workers."""
    gpus = ray.cluster_resources().get("GPU", 0)
    fewest, most = workers
    if 0 < gpus < fewest:
        raise UseError(f"{fewest} workers on {gpus:g} GPUs: --workers {gpus:.0f}, or hide the GPUs"
                       " (CUDA_VISIBLE_DEVICES=) to train on CPUs")
    number: Any = most if fewest == most else workers
    nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    each = _share(nodes, recipe.threads, most * runs)
    return ScalingConfig(num_workers=number, use_gpu=gpus > 0, resources_per_worker={"CPU": each})


def _share(nodes: Sequence[float], threads: int, workers: int) -> float:
    """CPUs for each worker: as many as it has threads where so many workers have room, or what fits the nodes' CPUs,
    one of which is left to read."""
    most = min(float(threads), max(sum(nodes) - 1, 0.5) / workers)
    shares = [most, *(cpus / places for cpus in nodes for places in range(1, workers + 1))]
    fitting = [share for share in (math.floor(s * 1e4) / 1e4 for s in shares)  # as finely as Ray counts
               if 0 < share <= most and sum(int(cpus / share + 1e-9) for cpus in nodes) >= workers]
    return max(fitting)


def _trainer(run: str, scaling: ScalingConfig, config: dict[str, Any]) -> TorchTrainer:
    """Every start has a folder of Ray Train's own: a run's checkpoints are not Ray's, but `checkpoints.py`'s."""
    storage.make_folder(storage.join(run, "ray"), "the run's folder")
    filesystem, path = storage.pyarrow_filesystem(storage.join(run, "ray"))
    config_of: Any = RunConfig  # typed as Ray Train's older one
    return TorchTrainer(
        work, train_loop_config=config, scaling_config=scaling,
        run_config=config_of(name=f"{time.time_ns():x}", storage_path=path, storage_filesystem=filesystem,
                             failure_config=FailureConfig(max_failures=MAX_FAILURES),
                             worker_runtime_env={"env_vars": {} if scaling.use_gpu else ENVIRONMENT}))


class _Room:
    """Says so, once each time, where a run is silent because its nodes have gone: Ray waits for others without end."""

    def __init__(self, scaling: ScalingConfig, fewest: int, hear: Hear) -> None:
        each: Any = scaling.resources_per_worker  # typed as any of Ray Tune's samplers
        self._needed = {kind: fewest * n for kind, n in each.items()} | ({"GPU": fewest} if scaling.use_gpu else {})
        self._fewest, self._hear = fewest, hear
        self._next = time.monotonic() + ROOM_SECONDS
        self._said = False

    def look(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + ROOM_SECONDS
        there = ray.cluster_resources()
        short = [f"{there.get(kind, 0):g} of {n:g} {kind}" for kind, n in self._needed.items()
                 if there.get(kind, 0) < n]
        if short and not self._said:
            self._hear([{"notice": f"waits for nodes: {self._fewest} workers need more than the cluster has"
                                   f" ({', '.join(short)})"}])
        self._said = bool(short)


def _heard(board: Any, hear: Hear) -> bool:
    """Pass the lines on; whether there were any. Raises the fault that a worker met."""
    taken: Taken = ray.get(board.take.remote())
    if taken.lines:
        hear(taken.lines)
    if taken.fault is not None:
        raise taken.fault
    return bool(taken.lines)


def _stop(board: Any, hear: Hear, number: int, fitting: threading.Thread) -> None:
    """Have the run saved and ended. Returns where it has ended by itself meanwhile."""
    ray.get(board.ask.remote("stop"))
    end = time.monotonic() + SAVE_SECONDS
    try:
        while fitting.is_alive():
            _heard(board, hear)
            if time.monotonic() > end:
                raise ended(number)
            time.sleep(POLL_SECONDS)
    except Stopped as stopped:
        if number != signal.SIGINT:
            raise
        raise KeyboardInterrupt from stopped


def _hear_out(board: Any, hear: Hear, training: threading.Thread) -> None:
    """The workers' last lines, of steps that are in their last checkpoint."""
    end = time.monotonic() + SAVE_SECONDS
    ended = False
    while not ended:
        ended = not training.is_alive() or time.monotonic() > end
        with suppress(Leave, LvrayError):
            _heard(board, hear)
        training.join(POLL_SECONDS)


def failure(error: BaseException) -> BaseException:
    """What ended a run. The cause comes from another process, often as text alone."""
    if isinstance(error, LvrayError) or not isinstance(error, Exception):
        return error
    text = str(error)
    refusals = [n for n in map(int, re.findall(r"\[Errno (\d+)\]", text)) if n in DISK_REFUSES]
    if refusals:
        return EnvironmentFault(f"the run could not be written: {os.strerror(refusals[-1])}; free space or mend the"
                                " rights, then run the same command again")
    names = re.findall(r"^([\w.]+(?:Error|Exception))\b", text, re.MULTILINE)
    return LvrayError(f"training failed ({names[-1] if names else type(error).__name__}): the same command goes on from"
                      " the last checkpoint; LVRAY_DEBUG=1 says more")
