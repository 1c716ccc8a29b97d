"""The ways of ways.py taken by turns, study by study, in one process of one thread: CPU time, wall time, bytes."""

from __future__ import annotations

import gc
import os
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from scripts.bench.ways import HEAD_BYTES, Study, Way, heads, study, ways
from scripts.bench.weed import Traffic

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS")
READ_AHEAD = 8 << 20


@dataclass
class Cost:
    """Of one way over all studies of one round: seconds, and bytes that the object store sent."""

    cpu: float = 0.0
    wall: float = 0.0
    sent: int = 0


Costs = dict[str, list[Cost]]
"""By way: a Cost a round."""


@dataclass(frozen=True)
class Spread:
    """Over the rounds."""

    median: float
    low: float
    high: float


def spread(values: list[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def ratio(costs: Costs, over: str, under: str, clock: str = "cpu") -> Spread:
    """How many times the cost of `under` the way `over` takes, round by round."""
    return spread([getattr(a, clock) / getattr(b, clock) for a, b in zip(costs[over], costs[under], strict=True)])


def take_turns(cases: list[Study], todo: dict[str, Way], rounds: int, sent: Callable[[], int]) -> Costs:
    """Every way over every study, `rounds` times; each round begins with another way. sent: bytes sent so far."""
    for way in todo.values():  # what is imported, opened or cached at the first time
        way(cases[0])
    costs: Costs = defaultdict(list)
    for number in range(rounds):
        turn = number % len(todo)
        order = [*todo.items()][turn:] + [*todo.items()][:turn]
        totals = {name: Cost() for name in todo}
        for case in cases:
            for name, way in order:
                gc.collect()
                before = sent(), time.process_time(), time.perf_counter()
                way(case)
                totals[name].cpu += time.process_time() - before[1]
                totals[name].wall += time.perf_counter() - before[2]
                totals[name].sent += sent() - before[0]
        for name, cost in totals.items():
            costs[name].append(cost)
    return dict(costs)


def measured(uris: list[str], parts_at: str, folder: Path, rounds: int, weed: Traffic | None) -> Costs:
    """take_turns in a process of its own, of one thread. weed: where the studies lie, None for files."""
    os.environ |= dict.fromkeys(THREADS, "1")
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        return alone.submit(_measured, uris, parts_at, folder, rounds, weed).result()


def _measured(uris: list[str], parts_at: str, folder: Path, rounds: int, weed: Traffic | None) -> Costs:
    cases = [study(uri, number) for number, uri in enumerate(uris, 1)]
    todo = ways(parts_at, folder)
    if weed is None:
        return take_turns(cases, todo, rounds, lambda: 0)
    todo |= {"heads, 8 MB ahead": partial(heads, block=READ_AHEAD),
             "heads, a range each": partial(heads, block=HEAD_BYTES)}
    bucket = uris[0].removeprefix("s3://").split("/")[0]
    return take_turns(cases, todo, rounds, lambda: weed.sent(bucket))
