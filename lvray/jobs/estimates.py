"""Estimates of a data set's rows by checkpoints, in Ray tasks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lvray.cmr.mass import MYOCARDIUM, grams
from lvray.errors import StudyRefused
from lvray.jobs.in_order import in_order
from lvray.nets.predict import Predictor, load
from lvray.shards import folders, storage
from lvray.shards.dataset import Dataset
from lvray.shards.schema import Row
from lvray.shards.stream import scan

CHUNK_ROWS = 8
NAMES = {"seg": "ML4Hseg", "reg": "ML4Hreg"}


def by_checkpoints(dataset: Dataset, rows: Sequence[int], checkpoints: Sequence[str],
                   progress: Callable[[int, int], None]) -> dict[int, dict[str, float | None]]:
    """{row number: {network: grams}}; None where a network refuses the study. Every row is answered once."""
    chunks = [list(rows[i:i + CHUNK_ROWS]) for i in range(0, len(rows), CHUNK_ROWS)]
    found: dict[int, dict[str, float | None]] = {}
    for estimated in in_order(_estimate_chunk, chunks, (dataset, tuple(map(storage.absolute, checkpoints)))):
        found.update(estimated)
        progress(len(found), len(rows))
    assert len(found) == len(rows)
    return found


def _estimate_chunk(rows: list[int], shared: tuple[Dataset, tuple[str, ...]]) -> dict[int, dict[str, float | None]]:
    dataset, checkpoints = shared
    predictors = [fetched(uri) for uri in checkpoints]
    return {number: {NAMES[p.network["kind"]]: estimate_row(p, row) for p in predictors}
            for number, row in scan(dataset, np.array(rows))}


@functools.lru_cache(maxsize=4)
def fetched(checkpoint: str) -> Predictor:
    """`fetch` in a Ray task: once a process, on the one CPU that a task has."""
    torch.set_num_threads(1)
    return fetch(checkpoint)


def fetch(checkpoint: str) -> Predictor:
    """The predictor of a checkpoint at a URI. CheckpointError, EnvironmentFault."""
    with folders.local(checkpoint, "the checkpoint") as folder:
        return load(folder)


def estimate_row(predictor: Predictor, row: Row) -> float | None:
    """Grams of a shard's row, which is in the canonical orientation already; None where the network refuses it."""
    if predictor.network["kind"] == "reg":
        try:
            return predictor.regress(row.image, row.spacing, row.heart_yx)
        except StudyRefused:
            return None
    mask = predictor.segment(row.image, row.spacing, row.heart_yx)
    return grams(mask, row.spacing) if (mask == MYOCARDIUM).any() else None


def pictures(dataset: Dataset, rows: Sequence[int], predictor: Predictor) -> Iterator[tuple[Row, NDArray[np.uint8]]]:
    """Some rows with the segmenter's mask, for the report."""
    for _, row in scan(dataset, np.array(rows)):
        yield row, predictor.segment(row.image, row.spacing, row.heart_yx)
