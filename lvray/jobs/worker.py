"""What each Ray Train worker does: stream, step, validate, report. The state of a run is (epoch, step) and weights."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray import train
from ray.train.torch import get_device

import lvray
from lvray.errors import CheckpointError, LvrayError, UseError
from lvray.jobs.step import optimiser_of, prepare, row_losses, sum_over_workers, train_step
from lvray.nets import checkpoint
from lvray.nets.build import build
from lvray.settings import Recipe
from lvray.shards import storage
from lvray.shards.dataset import Dataset, open_dataset, select
from lvray.shards.order import steps_in
from lvray.shards.stream import batches, scan

TELL_SECONDS = 1.0
NEEDED = {"seg": "mask", "reg": "manual_g"}
"""The column that a network is trained on."""


@dataclass
class Progress:
    """What decides the learning rate and the end of a run, beside the position. history: one entry a validation."""

    best: float | None = None
    since_best: int = 0
    halvings: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def selected(dataset: Dataset, recipe: Recipe, split: str) -> NDArray[np.int64]:
    """The rows of a split that a recipe can use. UseError where it has more slices than the network's box."""
    rows = select(dataset, [split], [NEEDED[recipe.network.kind]])
    most = max((int(dataset.index["shape"][int(r)].as_py()[0]) for r in rows), default=0)
    if most > recipe.network.box[0]:
        raise UseError(f"a {split} study has {most} slices, the network's box {recipe.network.box[0]}:"
                       f" --set network.box={most},{recipe.network.box[1]},{recipe.network.box[2]}")
    return rows


def work(config: dict[str, Any]) -> None:
    """The loop of one worker. A fault of the user's data or store goes to the board.

    It is raised too, since the other workers wait for this one; Ray then starts them all anew, to find it on the board.
    """
    board = config["board"]
    if ray.get(board.failed.remote()):
        return
    try:
        uri, checksum = config["data"]
        _work(Recipe.model_validate(config["recipe"]), uri, checksum, board)
    except LvrayError as fault:
        ray.get(board.fail.remote(fault))
        raise


def _work(recipe: Recipe, data: str, checksum: str, board: Any) -> None:
    context = train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = get_device()
    assert isinstance(device, torch.device)
    dataset = open_dataset(data, checksum)
    rows, held_out = selected(dataset, recipe, "train"), selected(dataset, recipe, "validation")
    model, optimiser, progress, start = _begin(recipe, dataset, device)
    if _out_of_patience(recipe, progress):
        return

    steps = steps_in(len(rows), recipe.stream.batch)
    losses: list[float] = []
    began = told = time.monotonic()
    waited = 0.0
    stream = batches(dataset, rows, recipe.stream, partial(_prepare, recipe), epochs=recipe.epochs, start=(start, 0),
                     rank=rank, world=world)
    asked = time.monotonic()
    for (epoch, step), batch in stream:
        waited += time.monotonic() - asked
        if step == 0:
            losses = []
            for group in optimiser.param_groups:
                group["lr"] = recipe.optimiser.lr * recipe.optimiser.gamma ** epoch * 0.5 ** progress.halvings
        losses.append(train_step(recipe, model, optimiser, batch.to(device)))
        if not math.isfinite(losses[-1]):
            raise LvrayError(f"the loss is not finite at epoch {epoch + 1}, step {step + 1}: the weights before this"
                             " step stand in the last checkpoint; try a lower learning rate")
        if rank == 0 and time.monotonic() - told > TELL_SECONDS:
            told = time.monotonic()
            board.tell.remote({"epoch": epoch + 1, "epochs": recipe.epochs, "step": step + 1, "steps": steps,
                               "loss": losses[-1], "waiting": waited / (told - began)})
        if step == steps - 1 and ((epoch + 1) % recipe.validate_epochs == 0 or epoch + 1 == recipe.epochs):
            entry = {"epoch": epoch + 1, "loss": float(np.mean(losses)), "lr": optimiser.param_groups[0]["lr"],
                     **_validate(recipe, model, dataset, held_out[rank::world], len(held_out), device)}
            _note(recipe, progress, entry)
            _report(recipe, dataset, rows, model, optimiser, progress, entry, rank)
            if rank == 0:
                board.tell.remote({"epochs": recipe.epochs, **entry})
            if _out_of_patience(recipe, progress):
                return
        asked = time.monotonic()


def _begin(recipe: Recipe, dataset: Dataset,
           device: torch.device) -> tuple[torch.nn.Module, torch.optim.Optimizer, Progress, int]:
    """Network, optimiser, progress and first epoch: fresh by the seed, or as the latest checkpoint has them."""
    torch.set_num_threads(recipe.threads)
    torch.use_deterministic_algorithms(torch.cuda.is_available())
    torch.manual_seed(recipe.stream.seed)
    network = recipe.network
    model = build(network.kind, network.width, network.box, network.pixel_size).to(device)
    optimiser = optimiser_of(recipe, model)
    saved = train.get_checkpoint()
    if saved is None:
        return model, optimiser, Progress(), 0
    with saved.as_directory() as folder:
        state = checkpoint.read(Path(folder))
    if state.data != dataset.checksum:
        raise CheckpointError("the run was started on other data: give it another --run")
    model.load_state_dict(state.weights)
    optimiser.load_state_dict(state.optimiser)
    return model, optimiser, Progress(**state.scheduler), state.epoch


def _out_of_patience(recipe: Recipe, progress: Progress) -> bool:
    return recipe.patience is not None and progress.since_best >= recipe.patience


def _prepare(recipe: Recipe, rows: list[Any], epoch: int, numbers: list[int]) -> Any:
    return prepare(recipe, rows, epoch, numbers)


def _validate(recipe: Recipe, model: torch.nn.Module, dataset: Dataset, rows: NDArray[np.int64], count: int,
              device: torch.device) -> dict[str, float]:
    """Mean loss over every validation row, once, whatever the number of workers. Nothing where there are none."""
    if not count:
        return {}
    total = torch.zeros(1, dtype=torch.float64, device=device)
    model.eval()
    with torch.inference_mode():
        for number, row in scan(dataset, rows):
            total += row_losses(recipe, model, prepare(recipe, [row], None, [number]).to(device)).sum()
    model.train()
    sum_over_workers([total])
    return {"validation_loss": float(total) / count}


def _note(recipe: Recipe, progress: Progress, entry: dict[str, float]) -> None:
    """Take a validation into account: best so far, epochs since, halving of the rate on a plateau."""
    progress.history.append(entry)
    score = entry.get("validation_loss")
    if score is None or progress.best is None or score < progress.best:
        progress.best, progress.since_best = score, 0
        return
    progress.since_best += recipe.validate_epochs
    plateau = recipe.optimiser.plateau
    if plateau is not None and progress.since_best % plateau < recipe.validate_epochs:
        progress.halvings += 1


def _report(recipe: Recipe, dataset: Dataset, rows: NDArray[np.int64], model: torch.nn.Module,
            optimiser: torch.optim.Optimizer, progress: Progress, entry: dict[str, float], rank: int) -> None:
    """Every worker reports; the first brings the checkpoint. Scored by validation, else the latest is the best.

    EnvironmentFault: the disk or the store refuses the checkpoint.
    """
    metrics = {**entry, "score": entry.get("validation_loss", -entry["epoch"])}
    if rank != 0:
        train.report(metrics)
        return
    with storage.faults("write the run's checkpoint"), tempfile.TemporaryDirectory() as folder:
        checkpoint.write(Path(folder), checkpoint.Checkpoint(
            settings=recipe.model_dump(mode="json"), weights=model.state_dict(), optimiser=optimiser.state_dict(),
            scheduler=asdict(progress), epoch=int(entry["epoch"]), step=0, seed=recipe.stream.seed,
            data=dataset.checksum, version=lvray.__version__, trained_on=_ranges(dataset, rows), metrics=entry))
        train.report(metrics, checkpoint=train.Checkpoint.from_directory(folder))


def _ranges(dataset: Dataset, rows: NDArray[np.int64]) -> dict[str, list[float]]:
    """[least, greatest] of what the training studies were like."""
    index = dataset.index.take(rows)
    spacing, shape = np.array(index["spacing"].to_pylist()), np.array(index["shape"].to_pylist())
    masses = [m for name in ("manual_g", "inlinevf_g") for m in index[name].to_pylist() if m is not None]
    facts = {"dz_mm": spacing[:, 0], "dy_mm": spacing[:, 1], "dx_mm": spacing[:, 2], "slices": shape[:, 0],
             "mass_g": np.array(masses)}
    return {name: [float(v.min()), float(v.max())] for name, v in facts.items()}
