"""Host memory of a training worker over the epochs: of a small data set, and of a listing ten times this machine's
memory whose rows lie in a few real shards.

    python -m scripts.bench.memory [--rows 240] [--epochs 5] [--reader threads|ray]

The worker runs the training loop's stream and preparation, in the environment that a worker on a CPU has; the steps
are left out, since they would only slow it.
Prints a table and, last, one JSON object: for each data set the greatest resident memory of each epoch, in MB, the
growth from the second epoch to the last, and the seconds to the first batch.
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
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lvray import recipes
from lvray.jobs.cluster import cluster
from lvray.jobs.prepare import prepare
from lvray.nets.step import ENVIRONMENT
from lvray.settings import Recipe, Splits, Tensorize
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
    for name, facts in found.items():
        print(f"{name:13} {facts['rows']:>9,} rows  first batch {facts['first_batch_s']:5.2f} s  "
              + "  ".join(f"{mb:6.0f}" for mb in facts["peak_mb"]) + f" MB  growth {facts['growth']:+.1%}")
    print(json.dumps({"reader": options.reader, **found}))


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
    recipe = recipes.paper_seg()
    rows = select(dataset, ["train"], ["mask"])
    began, first, peaks = time.monotonic(), 0.0, []
    for epoch in range(epochs):
        peak = 0.0
        for _ in streamed(recipe, dataset, rows, epoch, steps, reader):
            first = first or time.monotonic() - began
            peak = max(peak, resident_mb())
        peaks.append(round(peak, 1))
    return {"rows": len(rows), "first_batch_s": round(first, 2), "peak_mb": peaks, "growth": peaks[-1] / peaks[1] - 1}


def streamed(recipe: Recipe, dataset: Dataset, rows: Any, epoch: int, steps: int | None,
             reader: Reader) -> Iterator[Any]:
    stream = batches(dataset, rows, recipe.stream, partial(prepare, recipe), epochs=epoch + 1, start=(epoch, 0),
                     reader=reader)
    for number, batch in enumerate(stream, 1):
        yield batch
        if number == steps:
            return


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
