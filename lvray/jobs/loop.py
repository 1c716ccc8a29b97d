"""The training loop of one worker: stream, step, validate. No Ray here: jobs/worker.py runs it in Ray Train, tests in
plain processes. Workers meet in torch.distributed alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from lvray.errors import LvrayError
from lvray.jobs import checkpoints, nonfinite, prepare, start, state
from lvray.jobs.board import Line
from lvray.jobs.job import Job, Place
from lvray.jobs.state import Position, State
from lvray.jobs.validate import validation_loss
from lvray.nets.batch import Batch
from lvray.nets.checkpoint import Checkpoint
from lvray.nets.step import sum_over_workers, train_step
from lvray.settings import Recipe
from lvray.shards.schema import Row
from lvray.shards.stream import batches

TELL_SECONDS = 0.5


@dataclass
class Pace:
    """Where the time has gone since the start, or since the last validation."""

    began: float = field(default_factory=time.monotonic)
    waited: float = 0.0
    rows: int = 0

    def restart(self) -> None:
        self.began, self.waited, self.rows = time.monotonic(), 0.0, 0

    def facts(self) -> dict[str, float]:
        seconds = time.monotonic() - self.began
        return {"samples_per_second": self.rows / seconds, "waiting": self.waited / seconds, "seconds": seconds}


class Desk:
    """The first worker's side work: lines told, checkpoints written, orders carried out. saved: name of the checkpoint
    that the run goes on from."""

    def __init__(self, job: Job, at: State, saved: str | None) -> None:
        self._job, self._at, self._saved = job, at, saved
        self._saver = checkpoints.Saver(job.where, job.recipe.saving.keep)
        self._lines: list[Line] = [{"begins": at.position, "world": job.place.world,
                                    "epochs": job.recipe.epochs, "steps": job.steps}]
        self._stored = time.monotonic()
        self.tell()

    def note(self, line: Line, pace: Pace) -> None:
        if self._saver.committed():
            self._lines.append({"saved": self._saved})
        self._lines.append(line)
        if time.monotonic() - self._told >= TELL_SECONDS:
            self._lines.append({"pace": pace.facts()})
            self.tell()

    def tell(self) -> None:
        """All that has been noted so far."""
        self._job.link.tell(self._lines)
        self._lines, self._told = [], time.monotonic()

    def save_if_due(self) -> None:
        if time.monotonic() - self._stored >= self._job.recipe.saving.seconds and not self._saver.busy:
            self.save()

    def save(self) -> None:
        """Begin a checkpoint of the run as it stands, once all that led there is told; unless it has one."""
        self.tell()
        job, called = self._job, _name(self._job, self._at)
        self._stored = time.monotonic()
        if called == self._saved:
            return
        self._saved = called
        made = state.snapshot(job.recipe, job.mode, self._at, job.seen, job.place.world)
        self._saver.start(called, made, self._at.progress.best_at)

    def stopped(self) -> bool:
        """Do as is asked of the first worker: save, and say whether to end."""
        asked = self._job.link.asked()
        if asked != "go":
            self.save()
            self.close()
            self._job.link.saved(asked, self._at.position)
        return asked == "stop"

    def close(self) -> None:
        """All is written and told."""
        self._saver.wait()
        self.tell()


def run(job: Job) -> None:
    """Train from the run's last checkpoint to the end, or until told to stop.

    LvrayError: a loss or a gradient that is not finite. Else as `batches` and storage.
    """
    called, saved = _resumed(job)
    first = start.read(job.where).weights if saved is None and job.recipe.start is not None else None
    at = state.begin(job.recipe, job.mode, saved, first, job.dataset, job.place.device)
    desk = Desk(job, at, called) if job.place.rank == 0 else None
    try:
        _train(job, at, desk)
    except LvrayError:
        if desk is not None:
            desk.tell()
        raise


def _train(job: Job, at: State, desk: Desk | None) -> None:
    pace = Pace()
    if _validation_due(job.recipe, at) and not _validate(job, at, desk, pace):
        return
    for position, batch in _timed(_batches(job, at), pace):
        line = _step(job, at, position, batch)
        pace.rows += job.recipe.stream.batch
        if desk is not None:
            desk.note(line, pace)
        if _validation_due(job.recipe, at) and not _validate(job, at, desk, pace):
            return
        if _agreed(desk is not None and desk.stopped(), job.place):
            return
        if desk is not None:
            desk.save_if_due()
    if desk is not None:
        desk.close()


def _agreed(stopped: bool, place: Place) -> bool:
    """Whether the first worker is told to end: all end after the same step, or one would wait for the others' part of
    the next one for ever."""
    if place.world == 1:
        return stopped
    told = torch.tensor([float(stopped)], device=place.device)
    sum_over_workers([told])
    return bool(told)


def _name(job: Job, at: State) -> str:
    """Of a checkpoint of the run as it stands."""
    epoch, step = at.position
    return checkpoints.name(*((epoch - 1, job.steps) if _validation_due(job.recipe, at) else (epoch, step)))


def _resumed(job: Job) -> tuple[str | None, Checkpoint | None]:
    """The run's last checkpoint and its name: the first worker's choice, so that all begin from the same."""
    place = job.place
    called: list[str | None] = [None]
    saved = None
    if place.rank == 0:
        found = checkpoints.latest(job.where, lambda text: job.link.tell([{"notice": text}]))
        if found:
            called[0], saved = found
        checkpoints.sweep(job.where, called[0])
    if place.world > 1:
        torch.distributed.broadcast_object_list(called, src=0)
    if place.rank != 0 and called[0] is not None:
        saved = checkpoints.read(checkpoints.where(job.where, called[0]))
    return called[0], saved


def _batches(job: Job, at: State) -> Iterator[tuple[Position, Batch]]:
    """From where the run stands on, until its epochs or its patience end. On a GPU, what it can do better it does."""
    place, recipe = job.place, job.recipe
    on_cpu = place.device.type == "cpu"
    stream = batches(job.dataset, job.rows.train, recipe.stream, partial(_collate, recipe, on_cpu), start=at.position,
                     epochs=recipe.epochs, rank=place.rank, world=place.world, reader=place.reader)
    for position, made in stream if not at.progress.ended(recipe) else ():
        yield position, made if on_cpu else prepare.finish(recipe, made, place.device)
        if at.progress.ended(recipe):
            return


def _collate(recipe: Recipe, on_cpu: bool, rows: list[Row], epoch: int, numbers: list[int]) -> Any:
    make = prepare.prepare if on_cpu else prepare.collate
    return make(recipe, rows, epoch, numbers)


def _timed(stream: Iterator[tuple[Position, Batch]], pace: Pace) -> Iterator[tuple[Position, Batch]]:
    """The same, the time that they were waited for added up."""
    while True:
        asked = time.monotonic()
        item = next(stream, None)
        pace.waited += time.monotonic() - asked
        if item is None:
            return
        yield item


def _step(job: Job, at: State, position: Position, batch: Batch) -> Line:
    recipe, (epoch, step) = job.recipe, position
    assert position == at.position
    if step == 0:
        at.progress.loss_sum = 0.0
    for group in at.optimiser.param_groups:
        group["lr"] = at.progress.rate(recipe, epoch)
    done = train_step(recipe.network.kind, at.model, at.optimiser, batch, job.mode, batch_rows=recipe.stream.batch,
                      clip=recipe.optimiser.clip, accumulate=recipe.step.accumulate)
    if not done.finite:
        raise nonfinite.step(job, at)
    at.progress.loss_sum += done.loss
    at.position = (epoch, step + 1) if step + 1 < job.steps else (epoch + 1, 0)
    return {"epoch": epoch + 1, "step": step + 1, "loss": done.loss, "norm": done.norm}


def _validation_due(recipe: Recipe, at: State) -> bool:
    """Whether an epoch has just ended that is to be validated, and that has not been."""
    epoch, step = at.position
    history = at.progress.history
    return (step == 0 and epoch > 0 and (epoch % recipe.validate_epochs == 0 or epoch == recipe.epochs)
            and not (history and history[-1]["epoch"] == epoch))


def _validate(job: Job, at: State, desk: Desk | None, pace: Pace) -> bool:
    """Validate, take it into account and save. False: told to stop in the middle; it is owed, then."""
    epoch, facts = at.position[0], pace.facts()
    entry = {"epoch": epoch, "loss": at.progress.loss_sum / job.steps, "lr": at.optimiser.param_groups[0]["lr"],
             "world": job.place.world}
    if len(job.rows.validation):
        loss = validation_loss(job, at, stopped=desk.stopped if desk is not None else lambda: False)
        if loss is None:
            return False
        entry["validation_loss"] = loss
    at.progress.note(job.recipe, entry, checkpoints.name(*at.position))
    if desk is not None:
        desk.note({**entry, **facts}, pace)
        desk.save()
    job.link.validated({**entry, **facts})
    pace.restart()
    return True
