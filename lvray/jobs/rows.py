"""Estimates of a data set's rows by checkpoints, on the pipeline that predicts cohorts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvray.cmr.geometry import tilt
from lvray.evidence.overlap import Overlap
from lvray.jobs import pipeline, predict
from lvray.jobs.estimates import name_of
from lvray.nets.predict import Predictor, beside_weights
from lvray.shards.dataset import Dataset
from lvray.shards.schema import Reject, Row
from lvray.shards.stream import scan


@dataclass(frozen=True)
class Estimated:
    """What a network says of a row. overlap: of its mask with the row's outlines, by structure; None without either."""

    mass_g: float
    interval_g: tuple[float, float] | None
    flags: frozenset[str]
    overlap: Mapping[str, Overlap] | None


def by_predictors(dataset: Dataset, rows: Sequence[int], predictors: Sequence[Predictor],
                  progress: Callable[[int, int], None]) -> dict[int, dict[str, Estimated | str]]:
    """{row number: {network: what it says, or the reason for which it refuses the study}}. Every row is answered once
    by each.

    Ray must be running.
    """
    numbers = {dataset.index["study"][row].as_py(): row for row in rows}
    items = [item for item in predict.items_in(dataset) if item.study in numbers]
    found: dict[int, dict[str, Estimated | str]] = {row: {} for row in rows}
    done, of = 0, len(rows) * len(predictors)
    progress(done, of)
    for predictor in predictors:
        plan = pipeline.Plan(beside_weights(predictor), predict.decided(predict.DEFAULT), dataset, b"",
                             compare=True)
        for one in pipeline.outcomes(items, plan, predictor):
            what = one.found.reason if isinstance(one.found, Reject) else _estimated(one.found)
            found[numbers[one.study]][name_of(predictor)] = what
            done += 1
            progress(done, of)
    assert done == of
    return found


def _estimated(row: dict[str, Any]) -> Estimated:
    low, high = row["interval_low_g"], row["interval_high_g"]
    return Estimated(row["mass_g"], None if low is None else (low, high), frozenset(row["quality"]), row.get("overlap"))


def pictures(dataset: Dataset, rows: Sequence[int],
             predictor: Predictor | None) -> Iterator[tuple[Row, NDArray[np.uint8] | None]]:
    """Some rows with the segmenter's mask, where there is one, for the report."""
    for _, row in scan(dataset, np.array(rows, np.int64)):
        if predictor is None:
            yield row, None
        else:
            yield row, predictor.segment(row.image, row.spacing, row.heart_yx, tilt(row.affine)).mask
