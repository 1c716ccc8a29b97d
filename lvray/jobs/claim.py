"""run.json: what a run's folder belongs to. The same command goes on with it; another is refused."""

from __future__ import annotations

import json
from typing import Any

import lvray
from lvray.errors import UseError
from lvray.settings import Recipe
from lvray.shards import storage

FILE = "run.json"


def begun_with(run: str, file: str = FILE) -> dict[str, Any] | None:
    """What the run at that URI belongs to, None where none has begun."""
    where = storage.join(run, file)
    if not storage.exists(where, file):
        return None
    try:
        found: dict[str, Any] = json.loads(storage.read_bytes(where, file))
        found["recipe"], found["data"], found["code"]
    except (ValueError, KeyError, TypeError) as error:
        raise UseError(f"{file} of the run is damaged: give another --run") from error
    return found


def belonging(recipe: Recipe, data: str) -> dict[str, Any]:
    """What a run belongs to. data: checksum of the data set's manifest. When checkpoints are written is no part of it:
    no weight depends on it."""
    return {"recipe": recipe.model_dump(mode="json", exclude={"saving"}), "data": data, "code": lvray.__version__}


def claim(run: str, mine: dict[str, Any], file: str = FILE) -> None:
    """Write what the run belongs to, or compare it with what stands there. UseError: it is another's, with what
    differs."""
    text = json.dumps(mine, indent=1, sort_keys=True).encode() + b"\n"
    if storage.put_if_absent(storage.join(run, file), text, file):
        return
    compare(begun_with(run, file), mine)


def compare(theirs: dict[str, Any] | None, mine: dict[str, Any]) -> None:
    """UseError where a run that has begun is another's, with what differs."""
    if theirs != mine:
        named = ", ".join(_differing(theirs, mine))
        raise UseError(f"--run belongs to other settings or data ({named}): give another --run, or those settings")


def _differing(theirs: Any, mine: Any, prefix: str = "") -> list[str]:
    """"optimiser.lr: 0.001 there, 0.01 now"."""
    if isinstance(theirs, dict) and isinstance(mine, dict):
        return [found for key in sorted({*theirs, *mine})
                for found in _differing(theirs.get(key), mine.get(key),
                                        key if prefix in ("", "recipe") else f"{prefix}.{key}")]
    short = prefix in ("data", "code")
    return [] if theirs == mine else [prefix if short else f"{prefix}: {theirs} there, {mine} now"]
