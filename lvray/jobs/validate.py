"""Validation: every row once, and the same mean, to the last bit, whatever the number of workers."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from lvray.jobs import nonfinite, prepare
from lvray.jobs.job import Job
from lvray.jobs.prepare import Raw
from lvray.jobs.state import State
from lvray.nets.step import row_losses, sum_over_workers
from lvray.shards.schema import Row
from lvray.shards.stream import ahead, scan


def validation_loss(job: Job, at: State, stopped: Callable[[], bool]) -> float | None:
    """Mean loss over the validation rows, each a batch of its own; of n workers, each takes every n-th row.

    stopped: asked after each row; None, for every worker, where one's says so. LvrayError: a loss is not finite.
    """
    place, rows, model = job.place, job.rows.validation, at.model

    def raw(item: tuple[int, Row]) -> Raw:
        return prepare.collate(job.recipe, [item[1]], None, [item[0]])

    losses, told = (torch.zeros(n, dtype=torch.float64, device=place.device) for n in (len(rows), 1))
    model.eval()
    with ThreadPoolExecutor(1, "validate") as pool, torch.inference_mode():
        mine = ahead(pool, raw, scan(job.dataset, rows[place.rank::place.world]))
        for number, made in zip(range(place.rank, len(rows), place.world), mine, strict=True):
            batch = prepare.finish(job.recipe, made, place.device)
            losses[number] = row_losses(job.recipe.network.kind, model, batch, job.mode)[0]
            if stopped():
                told += 1
                break
    model.train()
    sum_over_workers([losses, told])
    if told:
        return None
    mean = float(losses.sum()) / len(rows)
    if not math.isfinite(mean):
        raise nonfinite.validation(job, at, rows[(~torch.isfinite(losses)).cpu().numpy()])
    return mean
