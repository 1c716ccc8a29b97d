"""Host memory of a training worker over the epochs: of a small data set, and of a listing ten times this machine's
memory whose rows lie in a few real shards.

    python -m scripts.bench.memory [--rows 240] [--epochs 5] [--reader threads|ray]

The worker runs the training loop's stream and preparation, in the environment that a worker on a CPU has; the steps
are left out, since they would only slow it.
Prints a table and, last, one JSON object: for each data set the greatest memory of each epoch that is the worker's
own, in MB, the growth from the second epoch to the last, the most that it had mapped of Ray's object store, whose size
is fixed, and the seconds to the first batch.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import sys
import tempfile
import time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from lvray import recipes
from lvray.jobs.cluster import cluster
from lvray.jobs.prepare import prepare
from lvray.nets.step import ENVIRONMENT
from lvray.settings import Splits, Tensorize
from lvray.shards.dataset import Dataset, select
from lvray.shards.stream import Reader, batches
from tests.shards.conftest import make_row, write_to

SHAPE = (11, 200, 204)
ROW_BYTES = 680_000
"""A row of UK Biobank's in a shard."""
TIMES = 10
STEPS = 60
"""Of each epoch of the long listing: a whole one would take an hour."""
SETTINGS = Tensorize(splits=Splits(validation=0.0, calibration=0.0, holdout=0.0))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rows", type=int, default=240)
    asked.add_argument("--epochs", type=int, default=5)
    asked.add_argument("--reader", choices=("threads", "ray"), default="threads")
    options = asked.parse_args()
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):  # as jobs/fit.py starts a worker
        os.execve(sys.executable, [sys.executable, "-m", "scripts.bench.memory", *sys.argv[1:]],
                  {**os.environ, **ENVIRONMENT})
    with tempfile.TemporaryDirectory() as folder, cluster() if options.reader == "ray" else contextlib.nullcontext():
        small = made(folder, options.rows)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        long = listed(small, TIMES * memory // ROW_BYTES)
        found = {name: measured(dataset, options.epochs, steps, options.reader)
                 for name, dataset, steps in (("small", small, None), ("long listing", long, STEPS))}
        show(options.reader, found)  # before Ray ends: what its prefetching then does may end the process


def show(reader: str, found: dict[str, dict[str, Any]]) -> None:
    for name, facts in found.items():
        print(f"{name:13} {facts['rows']:>9,} rows  first batch {facts['first_batch_s']:5.2f} s  "
              + "  ".join(f"{mb:6.0f}" for mb in facts["peak_mb"])
              + f" MB  growth {facts['growth']:+.1%}, mapped {facts['mapped_mb']:.0f} MB")
    print(json.dumps({"reader": reader, **found}), flush=True)


def made(folder: str, rows: int) -> Dataset:
    """Smooth noise of a real study's size."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 400, SHAPE).cumsum(2).astype(np.int16)
    mask = (image > 30_000).astype(np.uint8)
    return write_to(str(Path(folder) / "data"), [
        dataclasses.replace(make_row(number, SETTINGS.splits), image=np.roll(image, number, 1), mask=mask,
                            mask_source="inlinevf", heart_yx=(90.0, 100.0), others=None, other_phases=(),
                            other_masks=None, other_mask_phases=(), es_phase=None) for number in range(rows)], SETTINGS)


def listed(dataset: Dataset, rows: int) -> Dataset:
    """The data set as if it held so many rows: its index again and again, each time as other shards, the same files."""
    times = -(-rows // dataset.index.num_rows)
    index = dataset.index.take(np.tile(np.arange(dataset.index.num_rows), times)[:rows])
    parts = dataset.manifest.shards
    shard = index["shard"].to_numpy() + len(parts) * (np.arange(rows) // dataset.index.num_rows)
    index = index.set_column(0, index.schema.field(0), [shard.astype(np.int32)])
    return dataclasses.replace(dataset, index=index,
                               manifest=dataset.manifest.model_copy(update={"shards": parts * times}))


def measured(dataset: Dataset, epochs: int, steps: int | None, reader: Reader) -> dict[str, Any]:
    """One stream over all epochs, as the training loop has it; steps: of an epoch, where it is cut short."""
    recipe = recipes.paper_seg()
    rows = select(dataset, ["train"], ["mask"])
    each = steps or len(rows) // recipe.stream.batch
    began, first, peaks, mapped = time.monotonic(), 0.0, [0.0] * epochs, 0.0
    stream = batches(dataset, rows, recipe.stream, partial(prepare, recipe), epochs=epochs, reader=reader)
    with contextlib.closing(stream):  # type: ignore[type-var]
        for number, _ in enumerate(islice(stream, epochs * each)):
            first = first or time.monotonic() - began
            own, shared = resident_mb()
            peaks[number // each], mapped = max(peaks[number // each], own), max(mapped, shared)
    return {"rows": len(rows), "first_batch_s": round(first, 2), "peak_mb": [round(mb, 1) for mb in peaks],
            "growth": peaks[-1] / peaks[1] - 1, "mapped_mb": round(mapped, 1)}


def resident_mb() -> tuple[float, float]:
    """Of this process: its own, and shared memory (proc(5))."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own, shared = (int(status[name].split()[0]) * 1024 / 1e6 for name in ("RssAnon", "RssShmem"))
    return own, shared


if __name__ == "__main__":
    main()
