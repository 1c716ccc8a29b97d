"""Checkpoints: a folder of plain data, checksummed, nothing of it ever unpickled.

    weights.safetensors   the network's state dict
    train.safetensors     the optimiser's tensors, named "<parameter number>.<state>"
    state.json            all the rest
    checksums.json        sha256 of the three others, written last: a folder without it is unfinished

Format of the tensors: https://huggingface.co/docs/safetensors. Same content, same bytes. torch is imported where a
checkpoint is written or read whole, so that looking at one takes no time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvray.errors import CheckpointError, EnvironmentFault

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

FORMAT = "lvray-checkpoint-2"
FILES = WEIGHTS, TRAIN, STATE, CHECKSUMS = (
    "weights.safetensors", "train.safetensors", "state.json", "checksums.json")

Get = Callable[[str], bytes]
"""A checkpoint's file by its name. EnvironmentFault, whose `__cause__` is a FileNotFoundError where there is none."""


@dataclass(frozen=True)
class Checkpoint:
    """A run at one position. Tensors are on the CPU; everything that is not a tensor is what JSON can hold."""

    settings: dict[str, Any]
    """The whole recipe, as `Recipe.model_dump(mode="json")` gives it: network, target, optimiser, stream ..."""
    weights: dict[str, Tensor]
    optimiser: dict[str, Any]
    """As `torch.optim.Optimizer.state_dict()` gives it."""
    scheduler: dict[str, Any]
    epoch: int
    step: int
    """Position: the next step's, both from 0."""
    seed: int
    """All that is random (first weights, order, augmentation) is a function of it and the position: the RNG's state."""
    data: str
    """Checksum of the data manifest."""
    version: str
    """Of the code."""
    mode: dict[str, Any]
    """How steps are computed: precision, channels_last, compile (`step.Mode`)."""
    world: int
    """Workers that it was written by. Any number of them can go on from it."""
    trained_on: dict[str, list[float]]
    """[least, greatest] of each fact about the training studies: "dz_mm", "dy_mm", "dx_mm", "slices", "mass_g"."""
    metrics: dict[str, float]
    earlier: list[str] = field(default_factory=list)
    """Checksums of the data that the weights which the run began with were trained on, the latest last."""


def to_files(checkpoint: Checkpoint) -> dict[str, bytes]:
    """The files of a checkpoint by name; whoever stores them writes the last one, checksums.json, last."""
    from safetensors.torch import save

    state = dict(vars(checkpoint))
    weights, optimiser = state.pop("weights"), state.pop("optimiser")
    state |= {"format": FORMAT, "param_groups": optimiser["param_groups"]}
    tensors = {f"{number}.{name}": value for number, values in optimiser["state"].items()
               for name, value in values.items()}
    blobs = {WEIGHTS: save(_packed(weights)), TRAIN: save(_packed(tensors)), STATE: _json(state)}
    return blobs | {CHECKSUMS: _json({name: sha256(blob) for name, blob in blobs.items()})}


def from_files(get: Get) -> Checkpoint:
    """The checkpoint of these files, checked to the byte. CheckpointError: missing, unfinished, damaged, foreign."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    blobs = checked(get)
    state = state_of(blobs)
    try:
        optimiser: dict[str, Any] = {"state": {}, "param_groups": state.pop("param_groups")}
        for key, value in load(blobs[TRAIN]).items():
            number, name = key.split(".")
            optimiser["state"].setdefault(int(number), {})[name] = value
        return Checkpoint(weights=load(blobs[WEIGHTS]), optimiser=optimiser, **state)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise _not_understood() from error


def restore(checkpoint: Checkpoint, model: nn.Module, optimiser: Optimizer) -> None:
    """Put a checkpoint's weights and optimiser state into these, on their device and in their memory format.

    A fused optimiser takes a weight and its state for one sequence of memory each. Files are contiguous: of weights
    that lie channels last it would pair each with another one's state, and say nothing.
    """
    import torch

    model.load_state_dict(checkpoint.weights)
    optimiser.load_state_dict(checkpoint.optimiser)
    for weight, state in optimiser.state.items():
        for name, value in state.items():
            if value.shape == weight.shape:
                state[name] = torch.empty_like(weight).copy_(value)


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Writes the folder, made if need be. ValueError: it holds a checkpoint. EnvironmentFault: the disk refuses."""
    if (folder / CHECKSUMS).exists():
        raise ValueError("the folder holds a checkpoint already")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, blob in to_files(checkpoint).items():
            (folder / name).write_bytes(blob)
    except OSError as error:
        raise EnvironmentFault(f"the checkpoint could not be written: {error.strerror}; free space or choose another"
                               " place, then run the same command again") from error


def read(folder: Path) -> Checkpoint:
    """The checkpoint in the folder. CheckpointError: see `from_files`. EnvironmentFault: the disk refuses."""

    def get(name: str) -> bytes:
        try:
            return (folder / name).read_bytes()
        except OSError as error:
            raise EnvironmentFault(f"the checkpoint cannot be read: {error.strerror}") from error

    return from_files(get)


def checked(get: Get) -> dict[str, bytes]:
    """The three files that checksums.json lists, each as it says. CheckpointError: see `from_files`."""
    checksums = _got(get, CHECKSUMS, "no finished checkpoint there (it has no checksums.json): name a checkpoint"
                     " folder, or the run's previous one")
    try:
        listed = json.loads(checksums)
    except ValueError:
        raise CheckpointError("the checkpoint's checksums.json is damaged: copy it again, or use the run's previous"
                              " one") from None
    if not isinstance(listed, dict) or set(listed) != {WEIGHTS, TRAIN, STATE}:
        raise CheckpointError("this is not an lvray checkpoint: its checksums.json lists other files")
    blobs = {}
    for name, digest in listed.items():
        blobs[name] = _got(get, name, f"the checkpoint lacks {name}: copy it again, or use the run's previous one")
        if sha256(blobs[name]) != digest:
            raise CheckpointError(f"the checkpoint's {name} is cut short or damaged (its sha256 differs):"
                                  " copy it again, or use the run's previous one")
    return blobs


def state_of(blobs: Mapping[str, bytes]) -> dict[str, Any]:
    """state.json of checked files: all fields but the tensors, and the optimiser's `param_groups`. CheckpointError."""
    try:
        state: dict[str, Any] = json.loads(blobs[STATE])
        found = state.pop("format")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _not_understood() from error
    if found != FORMAT:
        raise CheckpointError("the checkpoint's format is another lvray version's: use that version, or train anew")
    return state


def parameters(blobs: Mapping[str, bytes]) -> int:
    """How many numbers the weights of checked files are. CheckpointError."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return sum(values.size for values in load(blobs[WEIGHTS]).values())
    except SafetensorError as error:
        raise _not_understood() from error


def sha256(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


def _got(get: Get, name: str, absent: str) -> bytes:
    try:
        return get(name)
    except EnvironmentFault as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            raise CheckpointError(absent) from None
        raise


def _not_understood() -> CheckpointError:
    return CheckpointError("the checkpoint is whole but not one that this lvray understands: use the lvray version"
                           " that wrote it, or train anew")


def _packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"
