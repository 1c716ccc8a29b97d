"""<run>/start: a copy of the weights that a run begins with where they are another run's (`train --from`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from lvray.errors import UseError
from lvray.jobs import checkpoints
from lvray.nets.checkpoint import WEIGHTS, Checkpoint, sha256, to_files
from lvray.settings import Recipe
from lvray.shards import storage
from lvray.shards.patience import patiently

FOLDER = "start"


def of(recipe: Recipe, saved: Checkpoint) -> tuple[Recipe, dict[str, bytes]]:
    """The recipe as it is when it begins with a checkpoint's weights, and the files that <run>/start holds then.
    UseError: the weights are of another network."""
    theirs, mine = saved.settings["network"], recipe.network.model_dump(mode="json")
    differing = [f"network.{name}={_text(theirs.get(name))}" for name in mine if theirs.get(name) != mine[name]]
    if differing:
        raise UseError(f"--from: those weights are of another network than {recipe.name}'s: to go on with it,"
                       f" {' '.join(f'--set {one}' for one in differing)}"
                       if theirs["kind"] == mine["kind"] else
                       f"--from: those weights are of a network of kind {theirs['kind']}: take a recipe of that kind")
    files = to_files(slim(saved))
    return recipe.model_copy(update={"start": sha256(files[WEIGHTS])}), files


def slim(saved: Checkpoint) -> Checkpoint:
    """The weights, and what predictions need beside them, without what training would go on with."""
    return replace(saved, optimiser={"state": {}, "param_groups": []}, scheduler={})


def put(run: str, files: Mapping[str, bytes]) -> None:
    """Written once; a run that goes on finds the same there. EnvironmentFault."""
    for name, blob in files.items():
        patiently(partial(storage.put_if_absent, storage.join(storage.join(run, FOLDER), name), blob, name))


def read(run: str) -> Checkpoint:
    """What a run began with. CheckpointError, EnvironmentFault."""
    return checkpoints.read(storage.join(run, FOLDER))


def _text(value: Any) -> str:
    return str(list(value)).replace(" ", "") if isinstance(value, list | tuple) else str(value).lower()
