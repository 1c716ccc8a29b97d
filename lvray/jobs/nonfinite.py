"""A loss or a gradient that is not finite: the run stops before the update, and what is needed to study it is kept."""

from __future__ import annotations

import json

import torch

from lvray.errors import LvrayError
from lvray.jobs import checkpoints, state
from lvray.jobs.job import Job
from lvray.jobs.state import State
from lvray.nets.checkpoint import to_files
from lvray.shards import order, storage

FOLDER = "nonfinite"
"""In a run: the checkpoint before that step, and rows.json."""


def kept(job: Job, at: State) -> LvrayError:
    """Writes the folder, where this is the first worker. -> the error to raise."""
    epoch, step = at.position
    if job.place.rank == 0:
        where = storage.join(job.where, FOLDER)
        made = state.snapshot(job.recipe, job.mode, at, job.dataset.checksum, job.trained_on, job.place.world)
        checkpoints.write(where, to_files(made))
        told = json.dumps({"epoch": epoch + 1, "step": step + 1, "studies": _studies(job, epoch, step)}, indent=1)
        storage.write_atomic(storage.join(where, "rows.json"), told.encode() + b"\n", "the rows of the step")
    if job.place.world > 1:
        torch.distributed.barrier()  # the error of any worker ends all of them
    return LvrayError(f"the loss or its gradient is not finite at epoch {epoch + 1}, step {step + 1}, and the weights"
                      f" were left as they were: {FOLDER}/ in the run holds them and the step's rows;"
                      " look at those studies, or lower optimiser.lr or set optimiser.clip")


def _studies(job: Job, epoch: int, step: int) -> list[str]:
    """Hashes of the studies of the global batch."""
    stream, rows = job.recipe.stream, job.rows.train
    shard, group = (job.dataset.column(name)[rows] for name in ("shard", "group"))
    dealt = order.epoch_order(shard, group, batch=stream.batch, lanes=stream.lanes, window=stream.window,
                              seed=stream.seed, epoch=epoch).rows
    each = stream.batch // stream.lanes
    return [job.dataset.index["study"][int(n)].as_py() for n in rows[dealt[:, step * each:(step + 1) * each]].ravel()]
