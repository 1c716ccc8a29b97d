"""The order of the training rows, as arithmetic: a pure function of (rows, seed, epoch); numpy and nothing else.

An epoch shuffles whole row groups, then the rows inside windows of neighbouring groups, so that a reader fetches
each group about once. What results is cut into equal runs, the *lanes*; step s takes batch // lanes rows from each.
A worker runs a contiguous share of the lanes. So the same rows form the same batch whatever the number of workers,
and the whole position of a stream is (epoch, step). The rows that fill no batch (fewer than `batch`) wait for
another epoch; others each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Epoch:
    """rows: [lanes, steps * batch // lanes], numbers into the selection; windows: the same shape, non-decreasing."""

    rows: Ints
    windows: Ints


@dataclass(frozen=True, eq=False)
class Task:
    """What is read in one go: the rows of one window in one lane, in order; step: the first that needs them."""

    step: int
    lane: int
    rows: Ints


def epoch_order(shard: Ints, group: Ints, *, batch: int, lanes: int, window: int, seed: int, epoch: int) -> Epoch:
    """Deal the rows of one epoch.

    shard, group: int [n], where each row of the selection lies. A window holds the row groups whose first rows fall
    into the same `window` positions. ValueError unless lanes divide the batch.
    """
    if batch % lanes:
        raise ValueError(f"batch {batch} is not a multiple of lanes {lanes}")
    n = len(shard)
    rng = np.random.default_rng([seed, epoch])
    _, member, size = np.unique(np.stack([shard, group]), axis=1, return_inverse=True, return_counts=True)
    shuffled = rng.permutation(len(size))
    starts = np.empty(len(size), np.int64)
    starts[shuffled] = np.cumsum(size[shuffled]) - size[shuffled]
    windows = starts[member] // window
    rows = np.lexsort((rng.permutation(n), windows))
    dealt = rows[:steps_in(n, batch) * batch].reshape(lanes, -1)
    return Epoch(dealt, windows[dealt])


def steps_in(n: int, batch: int) -> int:
    """Steps of an epoch of n rows."""
    return n // batch


def share(lanes: int, rank: int, world: int) -> range:
    """The lanes that a worker runs; sizes differ by at most one. ValueError where a worker would have none."""
    if not 0 <= rank < world <= lanes:
        raise ValueError(f"rank {rank} of {world} workers over {lanes} lanes")
    return range(rank * lanes // world, (rank + 1) * lanes // world)


def tasks(epoch: Epoch, own: Sequence[int], batch: int, start: int) -> list[Task]:
    """What a worker reads from step `start` on, in the order in which it is first needed."""
    each = batch // len(epoch.rows)
    out: list[Task] = []
    for lane in own:
        rest, windows = epoch.rows[lane, start * each:], epoch.windows[lane, start * each:]
        cuts = np.flatnonzero(np.diff(windows)) + 1
        firsts = [0, *cuts.tolist()] if len(rest) else []
        out += [Task(start + at // each, lane, part)
                for at, part in zip(firsts, np.split(rest, cuts), strict=False)]
    return sorted(out, key=lambda task: (task.step, task.lane))


def assemble(arrived: Iterable[tuple[int, Iterable[T]]], own: Sequence[int], each: int) -> Iterator[list[T]]:
    """(lane, its next rows) in the order of `tasks` -> the worker's rows of each step, `each` from every lane."""
    waiting: dict[int, list[T]] = {lane: [] for lane in own}
    for lane, rows in arrived:
        waiting[lane].extend(rows)
        while all(len(rows) >= each for rows in waiting.values()):
            yield [waiting[lane].pop(0) for lane in own for _ in range(each)]
