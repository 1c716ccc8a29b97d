"""Checkpoints: a folder of plain data, checksummed, nothing of it ever unpickled.

    weights.safetensors   the network's state dict
    train.safetensors     the optimiser's tensors, named "<parameter number>.<state>"
    state.json            all the rest
    checksums.json        sha256 of the three others, written last: without it there is no checkpoint

Format of the tensors: https://huggingface.co/docs/safetensors. Same content, same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lvray.errors import CheckpointError, EnvironmentFault

FORMAT = "lvray-checkpoint-1"
WEIGHTS, TRAIN, STATE, CHECKSUMS = "weights.safetensors", "train.safetensors", "state.json", "checksums.json"


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
    """Position: steps done in that epoch."""
    seed: int
    """All that is random (first weights, order, augmentation) is a function of it and the position: the RNG's state."""
    data: str
    """Checksum of the data manifest."""
    version: str
    """Of the code."""
    trained_on: dict[str, list[float]]
    """[least, greatest] of each fact about the training studies: "dz_mm", "dy_mm", "dx_mm", "slices", "mass_g"."""
    metrics: dict[str, float]


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Writes the folder, made if need be. ValueError: it holds a checkpoint. EnvironmentFault: the disk refuses."""
    from safetensors.torch import save

    if (folder / CHECKSUMS).exists():
        raise ValueError("the folder holds a checkpoint already")
    state = dict(vars(checkpoint))
    weights, optimiser = state.pop("weights"), state.pop("optimiser")
    state |= {"format": FORMAT, "param_groups": optimiser["param_groups"]}
    tensors = {f"{number}.{name}": value for number, values in optimiser["state"].items()
               for name, value in values.items()}
    blobs = {WEIGHTS: save(_packed(weights)), TRAIN: save(_packed(tensors)), STATE: _json(state)}
    blobs[CHECKSUMS] = _json({name: _sha256(blob) for name, blob in blobs.items()})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, blob in blobs.items():
            (folder / name).write_bytes(blob)
    except OSError as error:
        raise EnvironmentFault(f"the checkpoint could not be written: {error.strerror}; free space or choose another"
                               " place, then run the same command again") from error


def read(folder: Path) -> Checkpoint:
    """The checkpoint in the folder, checked to the byte. CheckpointError: missing, unfinished, damaged, foreign."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    blobs = _checked(folder)
    try:
        state = json.loads(blobs[STATE])
        if state.pop("format") != FORMAT:
            raise CheckpointError("the checkpoint's format is another lvray version's: use that version, or train anew")
        optimiser: dict[str, Any] = {"state": {}, "param_groups": state.pop("param_groups")}
        for key, value in load(blobs[TRAIN]).items():
            number, name = key.split(".")
            optimiser["state"].setdefault(int(number), {})[name] = value
        return Checkpoint(weights=load(blobs[WEIGHTS]), optimiser=optimiser, **state)
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError("the checkpoint is whole but not one that this lvray understands: use the lvray version"
                              " that wrote it, or train anew") from error


def _checked(folder: Path) -> dict[str, bytes]:
    """The bytes of the three files, each as its checksum says."""
    try:
        checksums = json.loads((folder / CHECKSUMS).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError("no finished checkpoint there (it has no checksums.json): name a checkpoint folder,"
                              " or the run's previous one") from None
    except ValueError:
        raise CheckpointError("the checkpoint's checksums.json is damaged: copy it again, or use the run's previous"
                              " one") from None
    except OSError as error:
        raise _unreadable(error) from error
    if not isinstance(checksums, dict) or set(checksums) != {WEIGHTS, TRAIN, STATE}:
        raise CheckpointError("this is not an lvray checkpoint: its checksums.json lists other files")
    return {name: _checked_file(folder / name, str(sha256)) for name, sha256 in checksums.items()}


def _checked_file(file: Path, sha256: str) -> bytes:
    try:
        blob = file.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"the checkpoint lacks {file.name}: copy it again, or use the run's previous"
                              " one") from None
    except OSError as error:
        raise _unreadable(error) from error
    if _sha256(blob) != sha256:
        raise CheckpointError(f"the checkpoint's {file.name} is cut short or damaged (its sha256 differs):"
                              " copy it again, or use the run's previous one")
    return blob


def _unreadable(error: OSError) -> EnvironmentFault:
    return EnvironmentFault(f"the checkpoint cannot be read: {error.strerror}")


def _packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def _sha256(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()
