"""The calibration job: intervals for one person, fitted on people who are there for nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from lvray.cmr.quality import Flag
from lvray.errors import UseError
from lvray.evidence import centering, conformal
from lvray.evidence.conformal import Intervals
from lvray.evidence.people import MANUAL_G
from lvray.jobs import apart, rows
from lvray.jobs.estimates import fetch, name_of
from lvray.jobs.generate import KEY
from lvray.jobs.rows import Estimated
from lvray.nets.predict import Predictor
from lvray.nets.trained import INTERVALS
from lvray.shards import storage
from lvray.shards.dataset import Dataset, open_dataset, select
from lvray.shards.identity import fingerprint
from lvray.weights import own

TRAINED = ("train", "validation")
"""Splits that made a checkpoint: the one trains it, the other chooses it."""


def calibrate(checkpoint: str, data: str, *, trained_on: tuple[str, ...] = (), level: float = conformal.LEVEL,
              progress: Callable[[int, int], None] = lambda done, of: None) -> Intervals:
    """Fit intervals on the data set's calibration people and keep them in the checkpoint, over earlier ones. Ray must
    be running.

    The estimate is centred first, by the data set's training people where they have labels. UseError: too few
    calibration people with a manual mass, or some whom the network was trained on. CheckpointError, EnvironmentFault.
    """
    predictor, dataset = fetch(checkpoint), open_dataset(data)
    name = name_of(predictor)
    theirs = _labelled(dataset, "calibration")
    fewest = conformal.fewest(level)
    if len(theirs) < fewest:
        raise UseError(f"{len(theirs)} calibration people have a manual mass, and an interval of level {level:g} needs"
                       f" {fewest}: tensorize with a larger --set splits.calibration")
    for doubt in apart.doubts(dataset, theirs, uses_of_training(predictor, dataset), trained_on):
        raise UseError(f"{doubt}: intervals want people whom it has not seen")
    training = _labelled(dataset, "train")
    found = rows.by_predictors(dataset, [*training, *theirs], [predictor], progress)
    estimated = {row: what.mass_g for row in found if isinstance(what := found[row][name], Estimated)}

    def columns(of: list[int]) -> tuple[list[float], list[float], list[str | None]]:
        kept = [row for row in of if row in estimated]
        facts = {column: dataset.index[column].take(pa.array(kept, pa.int64())).to_pylist()
                 for column in ("manual_g", "sex")}
        return [estimated[row] for row in kept], facts["manual_g"], facts["sex"]

    people = columns(training)
    fitted = conformal.fit(
        *columns(theirs), method=name, kind=_kind(dataset, theirs), weights_sha256=predictor.weights_sha256,
        data=dataset.checksum, centering=centering.fit(*people) if people[0] else None, level=level)
    text = json.dumps(fitted.to_dict(), indent=1, sort_keys=True).encode() + b"\n"
    storage.write_atomic(storage.join(checkpoint, INTERVALS), text, INTERVALS)
    return fitted


def uses_of(intervals: Intervals) -> apart.Use:
    """Whose masses the intervals know."""
    splits = ("calibration", "train") if intervals.centering else ("calibration",)
    return apart.Use(f"the intervals of {intervals.method}", intervals.data, splits)


def uses_of_training(predictor: Predictor, dataset: Dataset) -> list[apart.Use]:
    """Whom the network's training used, and that of the weights that it began with. Of lvray's own weights that is
    known: generated hearts, which are nobody's in a data set of another key, and the patients of their model card."""
    saved, generated = predictor.checkpoint, dataset.manifest.key == fingerprint(KEY)
    return [apart.Use(f"the training of {name_of(predictor)}", data, TRAINED) for data in (*saved.earlier, saved.data)
            if generated or data not in own.data()]


def _labelled(dataset: Dataset, split: str) -> list[int]:
    """Rows of a split with a manual mass in range, one a participant: the first."""
    first: dict[Any, int] = {}
    for row in select(dataset, [split], ["manual_g"]).tolist():
        if MANUAL_G[0] < dataset.index["manual_g"][row].as_py() < MANUAL_G[1]:
            first.setdefault(dataset.index["participant"][row].as_py(), row)
    return list(first.values())


def _kind(dataset: Dataset, people: list[int]) -> str:
    """Phantoms among them make it phantoms'."""
    flags = dataset.index["flags"].take(people).to_pylist()
    return "phantom" if any(Flag.PHANTOM in of for of in flags) else "real"
