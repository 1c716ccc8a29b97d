"""The training job: Ray Train workers over the stream of a data set, to checkpoints in a run's folder.

    <run>/run.json       recipe, data, code: what the run belongs to
    <run>/ray/           Ray Train's own: checkpoints to resume from
    <run>/best/          the checkpoint of the best validation
    <run>/history.png    loss against epoch
    <run>/history.json   one entry a validation; written last: with it the run is done
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.train import (
    Checkpoint,
    CheckpointConfig,
    FailureConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
)
from ray.train.torch import TorchTrainer

import lvray
from lvray.errors import EnvironmentFault, LvrayError, UseError
from lvray.evidence.figures import training_curve
from lvray.jobs.worker import NEEDED, selected, work
from lvray.nets.checkpoint import CHECKSUMS, read
from lvray.settings import Recipe
from lvray.shards import folders, storage
from lvray.shards.dataset import open_dataset

HISTORY = "history.json"
POLL_SECONDS = 0.2
MAX_FAILURES = 3
"""Workers or nodes lost before a run gives up; the same command goes on from the last checkpoint."""
DISK_REFUSES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)

Tell = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class Run:
    """A finished run. best: URI of the checkpoint of the best validation."""

    best: str
    training_rows: int
    validation_rows: int
    history: list[dict[str, float]]


class Board:
    """An actor between the workers and the command: lines of progress, and a fault that ends the run."""

    def __init__(self) -> None:
        self.lines: list[dict[str, float]] = []
        self.fault: LvrayError | None = None

    def tell(self, line: dict[str, float]) -> None:
        self.lines.append(line)

    def fail(self, fault: LvrayError) -> None:
        self.fault = fault

    def failed(self) -> bool:
        return self.fault is not None

    def take(self) -> tuple[list[dict[str, float]], LvrayError | None]:
        lines, self.lines = self.lines, []
        return lines, self.fault


def train(recipe: Recipe, data: str, run: str, tell: Tell = lambda line: None) -> Run:
    """Train a recipe on the data set at `data`; Ray must be running. The same again resumes, or returns at once.

    UseError: no usable rows, a run that belongs to other settings or data. EnvironmentFault: a store that fails.
    """
    storage.preflight(run, write=True, what="the run's folder")
    dataset = open_dataset(data, _begun_with(run))
    rows, held_out = selected(dataset, recipe, "train"), selected(dataset, recipe, "validation")
    if len(rows) < recipe.stream.batch:
        raise UseError(f"{len(rows)} training studies have a {NEEDED[recipe.network.kind]}; recipe {recipe.name} needs"
                       f" at least its batch of {recipe.stream.batch}")
    claim = {"recipe": recipe.model_dump(mode="json"), "data": dataset.checksum, "code": lvray.__version__}
    name = _claim(run, claim)
    history = _finished(run)
    if history is None:
        history = _run(recipe, {"recipe": claim["recipe"], "data": (dataset.uri, dataset.checksum)}, run, name, tell)
    return Run(storage.join(run, "best"), len(rows), len(held_out), history)


def _run(recipe: Recipe, config: dict[str, Any], run: str, name: str, tell: Tell) -> list[dict[str, float]]:
    """Train to the end, from the latest checkpoint if there is one, and publish what came out. -> the history."""
    board: Any = ray.remote(num_cpus=0)(Board).remote()
    with _telling(board, tell):
        latest, best = _fit(recipe, {**config, "board": board}, run, name)
    fault = ray.get(board.take.remote())[1]
    if fault is not None:
        raise fault
    if best is None or latest is None:
        raise LvrayError("the run ended without a checkpoint")
    with latest.as_directory() as folder:
        history: list[dict[str, float]] = read(Path(folder)).scheduler["history"]
    with best.as_directory() as folder:
        folders.publish(Path(folder), storage.join(run, "best"), CHECKSUMS, "the best checkpoint")
    _write_history(run, recipe, history)
    return history


@contextmanager
def _telling(board: Any, tell: Tell) -> Iterator[None]:
    """Pass the workers' lines on while the `with` lasts, and those left at its end."""
    done = threading.Event()

    def poll() -> None:
        while not done.wait(POLL_SECONDS):
            for line in ray.get(board.take.remote())[0]:
                tell(line)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        for line in ray.get(board.take.remote())[0]:
            tell(line)


def _fit(recipe: Recipe, config: dict[str, Any], run: str, name: str) -> tuple[Checkpoint | None, Checkpoint | None]:
    """Run the workers. -> the latest checkpoint and the best one."""
    storage.make_folder(storage.join(run, "ray"), "the run's folder")
    filesystem, path = storage.pyarrow_filesystem(storage.join(run, "ray"))
    cpus, gpus = (ray.cluster_resources().get(kind, 0) for kind in ("CPU", "GPU"))
    each = {"CPU": min(float(recipe.threads), max(cpus - 1, 0.5) / recipe.workers)}  # one is left to read
    trainer = TorchTrainer(
        work, train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=recipe.workers, use_gpu=gpus >= recipe.workers,
                                     resources_per_worker=each),
        run_config=RunConfig(
            name=name, storage_path=path, storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
            checkpoint_config=CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="score",
                                               checkpoint_score_order="min")))
    try:
        with _interruptible():
            result = trainer.fit()
    except TrainingFailedError as e:
        raise _failure(e) from e
    return result.checkpoint, result.get_best_checkpoint("score", "min") if result.checkpoint else None


def _failure(error: Exception) -> LvrayError:
    """What ended a run. The cause comes from another process, often as text alone."""
    text = str(error)
    refusals = [n for n in map(int, re.findall(r"\[Errno (\d+)\]", text)) if n in DISK_REFUSES]
    if refusals:
        return EnvironmentFault(f"the run could not be written: {os.strerror(refusals[-1])}; free space or mend the"
                                " rights, then run the same command again")
    return LvrayError(f"training failed: {text.strip().splitlines()[-1]}")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends a run as KeyboardInterrupt: Ray Train stops the workers, but then exits, and keeps its handler."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def _write_history(run: str, recipe: Recipe, history: list[dict[str, float]]) -> None:
    picture = training_curve([h["epoch"] for h in history], [h["loss"] for h in history],
                             [h["validation_loss"] for h in history if "validation_loss" in h], recipe.name)
    storage.write_atomic(storage.join(run, "history.png"), picture, "the history")
    text = json.dumps(history, indent=1).encode() + b"\n"
    storage.write_atomic(storage.join(run, HISTORY), text, "the history")


def _finished(run: str) -> list[dict[str, float]] | None:
    """The history of a run that is done and whose best checkpoint is still there."""
    where = [storage.join(run, HISTORY), storage.join(storage.join(run, "best"), CHECKSUMS)]
    if not all(storage.exists(uri, "the run") for uri in where):
        return None
    history: list[dict[str, float]] = json.loads(storage.read_bytes(where[0], "the history"))
    return history


def _begun_with(run: str) -> str | None:
    """Checksum of the manifest that a run belongs to: the data set may have grown since it began."""
    where = storage.join(run, "run.json")
    if not storage.exists(where, "run.json"):
        return None
    found: str = json.loads(storage.read_bytes(where, "run.json"))["data"]
    return found


def _claim(run: str, claim: dict[str, Any]) -> str:
    """Write run.json, or compare it with the one there. -> a name for Ray Train that changes with the settings."""
    text = json.dumps(claim, indent=1, sort_keys=True).encode() + b"\n"
    where = storage.join(run, "run.json")
    if not storage.put_if_absent(where, text, "run.json") and storage.read_bytes(where, "run.json") != text:
        raise UseError("--run belongs to another recipe, data set or lvray version: give another, or remove that one")
    return hashlib.sha256(text).hexdigest()[:12]
