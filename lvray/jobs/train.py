"""The training job: Ray Train workers over the stream of a data set, to checkpoints in a run's folder.

    <run>/run.json       recipe, data, code: what the run belongs to (claim.py)
    <run>/mode.json      precision, memory format, compile; the hardware (mode.py)
    <run>/start/         weights that it began with, if not fresh ones (start.py)
    <run>/checkpoints/   to resume from (checkpoints.py)
    <run>/metrics.jsonl  every step and every validation (metrics.py)
    <run>/ray/           Ray Train's own
    <run>/best/          the checkpoint of the best validation
    <run>/report.html    settings, curves (curves.png), hardware, throughput, waits
    <run>/history.json   one entry a validation; written last: with it the run is done
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from lvray import recipes
from lvray.errors import CheckpointError, LvrayError, UseError
from lvray.jobs import checkpoints, claim, start
from lvray.jobs.board import Line
from lvray.jobs.fit import Workers, fit
from lvray.jobs.gauges import Gauges
from lvray.jobs.metrics import Metrics
from lvray.jobs.report import write_report
from lvray.jobs.selection import Selection, selected
from lvray.jobs.state import Progress
from lvray.nets.checkpoint import CHECKSUMS
from lvray.settings import Recipe
from lvray.shards import storage
from lvray.shards.dataset import Dataset, check_sizes, open_dataset, verify_shards
from lvray.shards.patience import patiently

HISTORY = "history.json"
Tell = Callable[[Line], None]


@dataclass(frozen=True)
class Run:
    """A finished run. best: URI of the checkpoint of the best validation; set_aside: studies with too many slices."""

    best: str
    training_rows: int
    validation_rows: int
    set_aside: int
    history: list[dict[str, Any]]


def train(recipe: Recipe, data: str, run: str, *, workers: Workers = (1, 1), resume: bool = False,
          track: Collection[str] = (), runs: int = 1, tell: Tell = lambda line: None,
          first: Mapping[str, bytes] = MappingProxyType({})) -> Run:
    """Train a recipe on the data set at `data`; Ray must be running. The same again resumes, or returns at once.

    workers: fewest and most. resume: the run must have begun. track: of metrics.TRACKERS. runs: that
    share the cluster with this one, it among them. tell: see jobs/loop.py. first: of start.of.
    UseError: no usable rows, a damaged data set, a run that belongs to other settings or data. EnvironmentFault: a
    store that fails. Stopped: SIGTERM, and the run is saved.
    """
    recipes.check_workers(recipe, workers[1])
    dataset, rows = check(recipe, data, run, resume)
    storage.preflight(run, write=True, what="the run's folder")
    if recipe.start is not None and not first:
        raise UseError("the recipe begins with weights of another run: give them by --from")
    claim.claim(run, claim.belonging(recipe, dataset.checksum))
    start.put(run, first)
    history = finished(run)
    if history is None:
        history = _run(recipe, dataset, rows, storage.absolute(run), workers, track, runs, tell)
    return Run(storage.join(run, checkpoints.BEST), len(rows.train), len(rows.validation), rows.set_aside, history)


def check(recipe: Recipe, data: str, run: str, resume: bool = False,
          file: str = claim.FILE, more: Mapping[str, Any] = MappingProxyType({})) -> tuple[Dataset, Selection]:
    """The data set and its rows for a run that may begin or go on, as far as that is seen without a trace on disk.
    file: where the run says what it belongs to; more: to what else than recipe, data and code. UseError,
    EnvironmentFault: as `train`."""
    if storage.is_s3(run):
        storage.preflight(run, write=True, what="the run's folder")
    begun = claim.begun_with(run, file)
    if resume and begun is None:
        raise UseError("--resume: no run has begun at --run; without --resume one begins")
    dataset = open_dataset(data, begun["data"] if begun else None)
    if begun is not None:
        claim.compare(begun, {**claim.belonging(recipe, dataset.checksum), **more})
    check_sizes(dataset)
    return dataset, selected(dataset, recipe)


def _run(recipe: Recipe, dataset: Dataset, rows: Selection, run: str, workers: Workers, track: Collection[str],
         runs: int, tell: Tell) -> list[dict[str, Any]]:
    """Train to the end and publish what came out. -> the history."""
    def notice(text: str) -> None:
        tell({"notice": text})

    with Metrics(run, track, recipe, dataset.checksum, notice) as metrics:
        gauges = Gauges()

        def hear(lines: list[Line]) -> None:
            for line in lines:
                metrics.take(line)
                gauges.take(line)
            for line in lines:  # it may raise Leave
                tell(line)

        fit(recipe, (dataset.uri, dataset.checksum), run, workers, hear,
            beside=lambda: verify_shards(dataset, np.concatenate([rows.train, rows.validation])), runs=runs)
        lines = metrics.lines()
    found = checkpoints.latest(run, notice)
    last = found[1] if found else None
    if last is None or not (last.epoch == recipe.epochs or Progress(**last.scheduler).ended(recipe)):
        raise LvrayError("the run's last checkpoint is missing or damaged: the same command makes it again")
    history: list[dict[str, Any]] = last.scheduler["history"]
    best = last.scheduler["best_at"]
    try:
        checkpoints.copy(checkpoints.where(run, best), storage.join(run, checkpoints.BEST))
    except CheckpointError as error:
        raise CheckpointError(f"the run is trained to its end, but its best checkpoint {best} is missing or damaged:"
                              " another --run trains it anew; the last one stands in checkpoints/") from error
    patiently(lambda: write_report(run, recipe, dataset, rows, lines))
    text = json.dumps(history, indent=1).encode() + b"\n"
    patiently(lambda: storage.write_atomic(storage.join(run, HISTORY), text, HISTORY))
    return history


def finished(run: str) -> list[dict[str, Any]] | None:
    """The history of a run that is done and whose best checkpoint is still there."""
    where = [storage.join(run, HISTORY), storage.join(storage.join(run, checkpoints.BEST), CHECKSUMS)]
    if not all(storage.exists(uri, "the run") for uri in where):
        return None
    history: list[dict[str, Any]] = json.loads(storage.read_bytes(where[0], "the history"))
    return history
