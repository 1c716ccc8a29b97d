"""A loss or a gradient that is not finite: the run stops before the update, and what is needed to study it is kept."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lvray.errors import LvrayError
from lvray.jobs import checkpoints, state
from lvray.jobs.job import Job
from lvray.jobs.state import State
from lvray.nets.checkpoint import to_files
from lvray.shards import order, storage

FOLDER = "nonfinite"
"""In a run: the checkpoint before that step, or at that validation, and rows.json."""
ADVICE = "look at those studies; a run with a lower optimiser.lr, or with optimiser.clip, is another --run"


def step(job: Job, at: State) -> LvrayError:
    """Keep the step that `at` stands before. -> the error to raise"""
    epoch, number = at.position
    _keep(job, at, {"epoch": epoch + 1, "step": number + 1, "studies": _studies(job, epoch, number)})
    return LvrayError(f"the loss or its gradient is not finite at epoch {epoch + 1}, step {number + 1}, and the weights"
                      f" were left as they were: {FOLDER}/ in the run holds them and the step's rows; {ADVICE}")


def validation(job: Job, at: State, rows: NDArray[np.int64]) -> LvrayError:
    """Keep the validation rows whose loss is not finite. -> the error to raise"""
    epoch = at.position[0]
    studies = [job.dataset.index["study"][int(number)].as_py() for number in rows]
    _keep(job, at, {"epoch": epoch, "studies": studies})
    return LvrayError(f"the validation loss of {len(rows)} studies is not finite after epoch {epoch}: {FOLDER}/ in the"
                      f" run holds the weights and those studies' hashes; {ADVICE}")


def _keep(job: Job, at: State, told: dict[str, Any]) -> None:
    """Write the folder, where this is the first worker; the others wait, since the error of any ends all."""
    if job.place.rank == 0:
        where = storage.join(job.where, FOLDER)
        made = state.snapshot(job.recipe, job.mode, at, job.seen, job.place.world)
        checkpoints.write(where, to_files(made))
        text = json.dumps(told, indent=1).encode() + b"\n"
        storage.write_atomic(storage.join(where, "rows.json"), text, "the rows of the step")
    if job.place.world > 1:
        torch.distributed.barrier()


def _studies(job: Job, epoch: int, step: int) -> list[str]:
    """Hashes of the studies of the global batch."""
    stream, rows = job.recipe.stream, job.rows.train
    shard, group = (job.dataset.column(name)[rows] for name in ("shard", "group"))
    dealt = order.epoch_order(shard, group, batch=stream.batch, lanes=stream.lanes, window=stream.window,
                              seed=stream.seed, epoch=epoch).rows
    each = stream.batch // stream.lanes
    return [job.dataset.index["study"][int(n)].as_py() for n in rows[dealt[:, step * each:(step + 1) * each]].ravel()]
