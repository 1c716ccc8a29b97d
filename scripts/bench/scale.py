"""The arithmetic of plan.py: what a training run takes on so many workers, and what reclaimed machines make of it."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

HOUR = 3600.0


@dataclass(frozen=True)
class Costs:
    """Of training one network. Seconds and bytes; cpu: of one core of the host."""

    step_s: float
    """Of a step, however few its rows."""
    row_s: float
    """Of each row of it, on the device that trains."""
    validation_row_s: float
    step_cpu_s: float
    """What a step takes of the host's cores, the loader's work left out."""
    row_cpu_s: float
    """The same for each row: nothing where a GPU computes."""
    loader_cpu_s: float
    """Of a row: read, decoded, cut to the box."""
    row_bytes: float
    gradient_bytes: float
    held_s: float
    """Training waits so long for a checkpoint."""
    restart_s: float
    """From the loss of a worker to the next step, where there is a machine for it."""


@dataclass(frozen=True)
class Machines:
    """A kind of node. Bandwidths in bytes a second, prices in dollars an hour and worker."""

    workers: int
    """On each."""
    cores: float
    """Of each, for its workers and their loaders."""
    network: float
    """Of each."""
    latency_s: float
    """Of a message between two workers."""
    store_node: float
    """What the object store gives to a node at most."""
    store: float
    """What it gives to all of them."""
    on_demand: float = 0.0
    spot: float = 0.0


@dataclass(frozen=True)
class Job:
    rows: int
    validation_rows: int
    epochs: int
    save_s: float


@dataclass(frozen=True)
class Step:
    """Of so many workers. Seconds that each part takes; compute and all-reduce follow each other, the rest goes on
    beside them, so that the longest tells."""

    compute: float
    all_reduce: float
    loader: float
    network: float
    store: float

    @property
    def seconds(self) -> float:
        return max(self.compute + self.all_reduce, self.loader, self.network, self.store)

    @property
    def limit(self) -> str:
        """What the step waits for."""
        beside = {name: getattr(self, name) for name in ("loader", "network", "store")}
        worst = max(beside, key=lambda name: beside[name])
        if beside[worst] > self.compute + self.all_reduce:
            return worst
        return "compute" if self.compute >= self.all_reduce else "all-reduce"


def step(costs: Costs, machines: Machines, workers: int, batch: int) -> Step:
    """A batch dealt to the workers as evenly as it goes; its all-reduce is a ring."""
    rows, beside = math.ceil(batch / workers), min(workers, machines.workers)
    sent = 2 * (workers - 1) / workers * costs.gradient_bytes
    crossing = sent if workers > machines.workers else 0.0
    return Step(
        compute=costs.step_s + rows * costs.row_s,
        all_reduce=sent / machines.network + 2 * (workers - 1) * machines.latency_s,
        loader=beside * (costs.step_cpu_s + rows * (costs.row_cpu_s + costs.loader_cpu_s)) / machines.cores,
        network=(beside * rows * costs.row_bytes + crossing) / machines.network,
        store=max(beside * rows * costs.row_bytes / machines.store_node, batch * costs.row_bytes / machines.store))


def seconds(costs: Costs, machines: Machines, job: Job, workers: int, batch: int) -> float:
    """Of a whole run that nothing disturbs, from its first step on."""
    steps = job.rows // batch
    validation = math.ceil(job.validation_rows / workers) * costs.validation_row_s
    epoch = steps * step(costs, machines, workers, batch).seconds + validation + costs.held_s
    return job.epochs * epoch * (1 + costs.held_s / job.save_s)


@dataclass(frozen=True)
class Outcome:
    """Of a run on machines that may be taken away. lost: seconds of training done twice."""

    seconds: float
    worker_seconds: float
    lost: float
    reclaims: int


def reclaimed(takes: Callable[[int], float], workers: int, hourly: float, costs: Costs, save_s: float,
              replace_s: float, rng: np.random.Generator) -> Outcome:
    """A run whose workers are taken `hourly` times an hour each, without notice; each comes back after replace_s.

    takes: seconds of the whole run on so many workers. Without a worker, what was trained since the last checkpoint is
    done again by those left; both then and when one comes back, which saves first, training stands for restart_s.
    """
    now = done = trained = lost = paid = 0.0  # done: share of the run; trained: seconds since workers began anew
    present, stands, reclaims = workers, 0.0, 0
    coming: list[float] = []
    while True:
        speed = 1 / takes(present) if present else 0.0
        gone = now + rng.exponential(HOUR / (hourly * present)) if hourly and present else math.inf
        back = coming[0] if coming else math.inf
        end = max(now, stands) + (1 - done) / speed if present else math.inf
        then = min(gone, back, end)
        span = max(0.0, then - max(now, stands)) if present else 0.0
        done, trained, paid, now = done + span * speed, trained + span, paid + (then - now) * present, then
        if then == end:
            return Outcome(now, paid, lost, reclaims)
        if then == gone:
            unsaved = trained % save_s
            done, lost = done - unsaved * speed, lost + unsaved
            present, reclaims = present - 1, reclaims + 1
            heapq.heappush(coming, now + replace_s)
        else:
            heapq.heappop(coming)
            present += 1
        trained, stands = 0.0, now + costs.restart_s
