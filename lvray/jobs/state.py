"""What a run is at one position: network, optimiser, progress; fresh by the seed, or out of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import lvray
from lvray.errors import CheckpointError
from lvray.nets.build import build
from lvray.nets.checkpoint import Checkpoint, restore
from lvray.nets.step import Mode, optimiser_of, ready
from lvray.settings import Recipe
from lvray.shards.dataset import Dataset

Position = tuple[int, int]
Ranges = dict[str, list[float]]
ANY_MASS_G = [0.0, 1e4]
"""The range of data without masses: no mass lies outside."""


@dataclass(frozen=True)
class Seen:
    """What a run's weights have been trained on, as their checkpoint tells it."""

    data: str
    earlier: list[str]
    trained_on: Ranges


@dataclass
class Progress:
    """What decides the learning rate and the end of a run, beside the position.

    best: the least validation loss, best_at: the name of its checkpoint; loss_sum: of the steps of the epoch so far;
    history: an entry a validation.
    """

    best: float | None = None
    best_at: str | None = None
    since_best: int = 0
    halvings: int = 0
    loss_sum: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)

    def note(self, recipe: Recipe, entry: dict[str, Any], called: str) -> None:
        """Take a validation into account. called: the name of its checkpoint. Without validation the latest is best."""
        self.history.append(entry)
        score = entry.get("validation_loss")
        if score is None or self.best is None or score < self.best:
            self.best, self.best_at, self.since_best = score, called, 0
            return
        self.since_best += recipe.validate_epochs
        plateau = recipe.optimiser.plateau
        if plateau is not None and self.since_best % plateau < recipe.validate_epochs:
            self.halvings += 1

    def rate(self, recipe: Recipe, epoch: int) -> float:
        """The learning rate of an epoch, from 0."""
        return float(recipe.optimiser.lr * recipe.optimiser.gamma ** epoch * 0.5 ** self.halvings)

    def ended(self, recipe: Recipe) -> bool:
        return recipe.patience is not None and self.since_best >= recipe.patience


@dataclass
class State:
    """A worker's copy of the run. position: the next step's (epoch, step), from 0."""

    model: torch.nn.Module
    optimiser: torch.optim.Optimizer
    progress: Progress
    position: Position


def begin(recipe: Recipe, mode: Mode, saved: Checkpoint | None, first: Mapping[str, torch.Tensor] | None,
          dataset: Dataset, device: torch.device) -> State:
    """first: weights to begin with, where no checkpoint is there. CheckpointError: the checkpoint is of other data or
    another mode."""
    torch.manual_seed(recipe.stream.seed)
    network = recipe.network
    model = ready(build(network.kind, network.width, network.box, network.pixel_size, network.pitch), mode, device)
    optimiser = optimiser_of(recipe.optimiser.name, model, recipe.optimiser.lr)
    if saved is None:
        if first is not None:
            model.load_state_dict(first)
        return State(model, optimiser, Progress(), (0, 0))
    if (saved.data, saved.mode) != (dataset.checksum, asdict(mode)):
        raise CheckpointError("the run's checkpoint is of other data or another mode than the run: give another --run")
    restore(saved, model, optimiser)
    return State(model, optimiser, Progress(**saved.scheduler), (saved.epoch, saved.step))


def snapshot(recipe: Recipe, mode: Mode, state: State, seen: Seen, world: int) -> Checkpoint:
    """The run as it stands, its tensors copied to the CPU: training may go on at once."""
    epoch, step = state.position
    return Checkpoint(
        settings=recipe.model_dump(mode="json"), weights=_copied(state.model.state_dict()),
        optimiser=_copied(state.optimiser.state_dict()), scheduler=_copied(asdict(state.progress)), epoch=epoch,
        step=step, seed=recipe.stream.seed, version=lvray.__version__, mode=asdict(mode), world=world, **vars(seen),
        metrics=dict(state.progress.history[-1]) if state.progress.history else {})


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def ranges(dataset: Dataset, rows: NDArray[np.int64]) -> Ranges:
    """[least, greatest] of what the training studies were like."""
    index = dataset.index.take(rows)
    spacing, shape = np.array(index["spacing"].to_pylist()), np.array(index["shape"].to_pylist())
    masses = [m for name in ("manual_g", "inlinevf_g") for m in index[name].to_pylist() if m is not None]
    facts = {"dz_mm": spacing[:, 0], "dy_mm": spacing[:, 1], "dx_mm": spacing[:, 2], "slices": shape[:, 0],
             "mass_g": np.array(masses or ANY_MASS_G)}
    return {name: [float(v.min()), float(v.max())] for name, v in facts.items()}


def united(one: Ranges, other: Ranges) -> Ranges:
    return {name: [min(low, other[name][0]), max(high, other[name][1])] for name, (low, high) in one.items()}
