"""What plan.py measures on this machine: of the paper's networks, what a GPU does not change; of a small one, runs of
one and two workers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from lvray import recipes
from lvray.jobs import prepare
from lvray.jobs.generate import generate
from lvray.jobs.train import train
from lvray.settings import Recipe, Splits, Tensorize
from lvray.shards.dataset import Dataset, open_dataset, select
from lvray.shards.stream import batches
from scripts.bench import resume, sides
from scripts.bench.memory import made
from scripts.bench.rivals.tree import cpu_seconds
from scripts.bench.rounds import spread

ROWS = 96
EPOCHS = 3
SMALL = recipes.override(recipes.smoke_seg(), ["network.width=16", "network.box=12,64,64", f"epochs={EPOCHS}",
                                                  "validate_epochs=1", "patience=null"])
"""As world.py has it: of workers of one thread."""
COLD, WARM = 16, 160
"""Batches, of four rows each, before the loader is timed, in which Ray starts its workers; and while it is."""


@dataclass(frozen=True)
class Measured:
    """Of a network of the paper. flop: of a row, forward and backward; held_s, committed_s: of a checkpoint, until
    training goes on and until the store has it."""

    flop: int
    loader_cpu_s: float
    row_bytes: float
    gradient_bytes: int
    checkpoint_bytes: int
    held_s: float
    committed_s: float


@dataclass(frozen=True)
class Trained:
    """A run of SMALL. step_s: without waiting for data, whose share of the time is `waiting`; cpu_s: a step's, of all
    processes; those three and epoch_s without the first epoch. whole_s: of the job, Ray itself left out."""

    workers: int
    batch: int
    step_s: float
    waiting: float
    cpu_s: float
    epoch_s: float
    whole_s: float


def measured(recipe: Recipe, dataset: Dataset, folder: Path, rounds: int) -> Measured:
    """A checkpoint `rounds` times to the S3 that the AWS variables name. Ray must be running."""
    network = recipe.network
    saving = resume.costs_of(recipe, str(folder), rounds)["S3"]
    files = [file for file in (folder / "disk").rglob("*") if file.is_file()]
    case = sides.Case(network.kind, torch.device("cpu"), 1, network.box, network.width)
    step, _ = sides.naive_side(case)
    weights = resume.trained(recipe).model.parameters()
    return Measured(
        flop=sides.flops(step, case), loader_cpu_s=_loader_cpu(recipe, dataset),
        row_bytes=sum(shard.bytes for shard in dataset.manifest.shards) / dataset.manifest.index.rows,
        gradient_bytes=sum(weight.numel() * weight.element_size() for weight in weights),
        checkpoint_bytes=sum(file.stat().st_size for file in files),
        held_s=spread(saving["held"]).median, committed_s=spread(saving["whole"]).median)


def _loader_cpu(recipe: Recipe, dataset: Dataset) -> float:
    """Seconds of a core for a row of the stream as a worker on a GPU has it, by the process tree, on Ray."""
    rows = select(dataset, ["train"], ["mask" if recipe.network.kind == "seg" else "manual_g"])
    epochs = 1 + (COLD + WARM) * recipe.stream.batch // len(rows)
    stream = batches(dataset, rows, recipe.stream, partial(prepare.collate, recipe), epochs=epochs)
    list(islice(stream, COLD))
    busy = cpu_seconds()
    list(islice(stream, WARM))
    busy = cpu_seconds() - busy
    for _ in stream:  # to its end: Ray would go on reading, and leave training no CPU
        pass
    return busy / (WARM * recipe.stream.batch)


def trained(dataset: Dataset, run: Path, workers: int, batch: int) -> Trained:
    """SMALL on so many workers of one thread. Ray must be running."""
    recipe = recipes.override(SMALL, [f"stream.batch={batch}", f"stream.lanes={batch}"])
    ends: list[tuple[dict[str, Any], float]] = []  # what each epoch tells, and the CPU used until then

    def tell(line: dict[str, Any]) -> None:
        if "lr" in line:
            ends.append((line, cpu_seconds()))

    began = time.monotonic()
    made = train(recipe, dataset.uri, str(run), workers=(workers, workers), tell=tell)
    whole = time.monotonic() - began
    later = [line for line, _ in ends[1:]]
    steps = made.training_rows // batch * len(later)
    total = sum(line["seconds"] for line in later)
    waited = sum(line["seconds"] * line["waiting"] for line in later)
    return Trained(workers, batch, (total - waited) / steps, waited / total, (ends[-1][1] - ends[0][1]) / steps,
                   total / len(later), whole)


def data(folder: Path) -> Dataset:
    """ROWS rows of a study's size."""
    return made(str(folder), ROWS)


def hearts(folder: Path) -> Dataset:
    """As many to train on: what is learnt at once leaves gradients so small that a CPU takes ten times as long."""
    generate(str(folder), ROWS, 0, Tensorize(splits=Splits(validation=0, calibration=0, holdout=0)), lambda *_: None)
    return open_dataset(str(folder))
