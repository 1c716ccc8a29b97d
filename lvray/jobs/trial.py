"""One trial of a search: a training run of its own under `<run>/trials/NN`, which tells Ray Tune of each validation.

    <run>/trials/NN/end.json   how it ended: done, stopped by the search after an epoch, or failed
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from lvray.errors import EnvironmentFault, LvrayError, UseError
from lvray.jobs import checkpoints
from lvray.jobs.board import Line
from lvray.jobs.fit import Leave, Workers
from lvray.jobs.space import Value, apply
from lvray.jobs.train import finished, train
from lvray.settings import Recipe
from lvray.shards import storage
from lvray.shards.patience import patiently

END, SUMMARY = "end.json", "tune.json"
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What the trials of a search share. concurrent: how many may run at a time."""

    recipe: Recipe
    data: str
    run: str
    workers: Workers
    concurrent: int
    track: tuple[str, ...]


@dataclass(frozen=True)
class End:
    """epoch: the last that the search has seen, from 1; 0 where there was none: what a trial validated while it was
    being stopped counts for its score alone. why: of a failure."""

    state: Literal["done", "stopped", "failed"]
    epoch: int
    why: str | None = None


END_OF = TypeAdapter(End)


def where(run: str, number: int) -> str:
    """URI of a trial's run."""
    return storage.join(storage.join(run, "trials"), f"{number:02d}")


def end_of(run: str, number: int) -> End | None:
    """None: it has not ended."""
    uri = storage.join(where(run, number), END)
    if not patiently(lambda: storage.exists(uri, END)):
        return None
    try:
        return END_OF.validate_json(patiently(lambda: storage.read_bytes(uri, END)))
    except ValidationError as error:
        raise UseError(f"{END} of trial {number} is damaged: give another --run") from error


def close(run: str, number: int, end: End) -> None:
    """Say how a trial has ended, for good."""
    text = json.dumps(asdict(end)).encode() + b"\n"
    patiently(lambda: storage.put_if_absent(storage.join(where(run, number), END), text, END))


def history(run: str, number: int) -> Sequence[Entry]:
    """The validations of a trial so far, which a checkpoint stands behind."""
    uri = where(run, number)
    made = finished(uri)
    if made is not None:
        return made
    last = checkpoints.latest(uri, lambda text: None)
    found: Sequence[Entry] = () if last is None else last[1].scheduler["history"]
    return found


def score(entries: Sequence[Entry]) -> float:
    """The least validation loss."""
    return float(min(entry["validation_loss"] for entry in entries))


def found_by(checkpoint: str) -> str | None:
    """The search that promoted a checkpoint, in words; None for one of a training run."""
    folder, _, name = checkpoint.rstrip("/").rpartition("/")
    uri = storage.join(folder, SUMMARY)
    if name != checkpoints.BEST or not storage.exists(uri, SUMMARY):
        return None
    try:
        search = json.loads(storage.read_bytes(uri, SUMMARY))
    except ValueError:
        return f"a search whose {SUMMARY} is damaged"
    return (f"a search of {', '.join(search['space'])}: trial {search['best']['trial']} of {len(search['trials'])}"
            f" ({SUMMARY} and tune.png in the checkpoint's parent folder)")


def run(number: int, values: Mapping[str, Value], plan: Plan, report: Callable[[dict[str, Any]], None],
        stopped: Callable[[], bool]) -> None:
    """Train from where the trial stands; `report` is given {"epoch", "score"} after each validation, the earlier ones
    first. stopped: by the search; what was trained meanwhile is saved.

    A fault that would come again is the trial's end. EnvironmentFault, and errors that are none of lvray's: try again.
    """
    told: list[Entry] = []

    def tell(entry: Entry) -> None:
        if "validation_loss" in entry and (not told or entry["epoch"] > told[-1]["epoch"]):
            told.append(entry)
            report({"epoch": entry["epoch"], "score": score(told)})

    end = end_of(plan.run, number)
    for entry in history(plan.run, number):
        if end is None or entry["epoch"] <= end.epoch:
            tell(entry)
    if end is not None:
        return
    try:
        recipe = apply(plan.recipe, values)
        made = train(recipe, plan.data, where(plan.run, number), workers=plan.workers, runs=plan.concurrent,
                     track=plan.track, tell=partial(_heard, tell, stopped, recipe.epochs))
    except EnvironmentFault:
        raise
    except Leave:
        return
    except LvrayError as fault:
        close(plan.run, number, End("failed", told[-1]["epoch"] if told else 0, str(fault)))
        return
    close(plan.run, number, End("done", made.history[-1]["epoch"]))
    for entry in made.history:
        tell(entry)


def _heard(tell: Callable[[Entry], None], stopped: Callable[[], bool], epochs: int, line: Line) -> None:
    """The last validation is told once the run is done with: there is nothing left to stop."""
    if stopped():
        raise Leave
    if "epoch" in line and "step" not in line and line["epoch"] < epochs:
        tell(line)
