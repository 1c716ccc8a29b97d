"""What a checkpoint holds, and which checkpoints a run has, in plain facts. No Ray, no torch: it answers at once."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from lvray.errors import CheckpointError
from lvray.jobs import checkpoints
from lvray.jobs.claim import begun_with
from lvray.nets.checkpoint import CHECKSUMS, WEIGHTS, checked, parameters, sha256, state_of
from lvray.nets.trained import INTERVALS
from lvray.shards import storage


def show(uri: str) -> dict[str, Any]:
    """Facts of a checkpoint's folder, or of a run's. CheckpointError: neither, or damaged. EnvironmentFault."""
    storage.preflight(uri, write=False, what="the checkpoint")
    begun = begun_with(uri)
    return _checkpoint(uri) if begun is None else _run(uri, begun)


def _checkpoint(uri: str) -> dict[str, Any]:
    """With "checksums": "hold": where one does not there are no facts, but a CheckpointError."""
    blobs = _checked(uri)
    state = state_of(blobs)
    facts = ("epoch", "step", "metrics", "trained_on", "data", "version", "mode", "world")
    return {"recipe": state["settings"]["name"], "network": state["settings"]["network"],
            "parameters": parameters(blobs), **{fact: state[fact] for fact in facts},
            "earlier": state.get("earlier", []), "weights_sha256": sha256(blobs[WEIGHTS]), "intervals": _intervals(uri),
            "bytes": {name: len(blob) for name, blob in blobs.items()},
            "checksums": "hold"}


def _intervals(uri: str) -> dict[str, Any] | None:
    where = storage.join(uri, INTERVALS)
    if not storage.exists(where, INTERVALS):
        return None
    try:
        found: dict[str, Any] = json.loads(storage.read_bytes(where, INTERVALS))
    except ValueError as error:
        raise CheckpointError(f"the checkpoint's {INTERVALS} is damaged: `lvray calibrate` makes it anew") from error
    return found


def _run(run: str, begun: dict[str, Any]) -> dict[str, Any]:
    """damaged: the checkpoints that are passed over on the way to the one that the run would resume from."""
    names = checkpoints.names(run)
    damaged: list[str] = []
    while len(damaged) < len(names) and not _whole(checkpoints.where(run, names[-1 - len(damaged)])):
        damaged.append(names[-1 - len(damaged)])
    return {"recipe": begun["recipe"]["name"], "data": begun["data"], "version": begun["code"],
            "checkpoints": [dict(zip(("name", "epoch", "step"), (name, *checkpoints.position(name)), strict=True))
                            for name in names],
            "damaged": damaged, "resumes": names[-1 - len(damaged)] if len(damaged) < len(names) else None,
            "best": _best(storage.join(run, checkpoints.BEST))}


def _best(uri: str) -> dict[str, Any] | None:
    """None: there is none yet."""
    if not storage.exists(storage.join(uri, CHECKSUMS), "the best checkpoint"):
        return None
    try:
        return _checkpoint(uri)
    except CheckpointError as error:
        return {"damaged": str(error)}


def _whole(uri: str) -> bool:
    try:
        return bool(_checked(uri))
    except CheckpointError:
        return False


def _checked(uri: str) -> dict[str, bytes]:
    return checked(partial(_get, uri))


def _get(uri: str, name: str) -> bytes:
    return storage.read_bytes(storage.join(uri, name), "the checkpoint")
