"""Where lvray's own weights lie, and what names them."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

DEFAULT = "default"
"""What names them where a checkpoint is asked for."""


def located(checkpoint: str) -> str:
    """The URI of a checkpoint: of lvray's own segmenter where it is DEFAULT."""
    return str(files(__package__) / "seg") if checkpoint == DEFAULT else checkpoint


@cache
def weights_sha256() -> str:
    sums: dict[str, str] = json.loads((files(__package__) / "seg" / "checksums.json").read_text())
    return sums["weights.safetensors"]


@cache
def data() -> frozenset[str]:
    """Checksums of the data sets that they were trained on: generated hearts, and real patients among such."""
    state = json.loads((files(__package__) / "seg" / "state.json").read_text())
    return frozenset([state["data"], *state.get("earlier", [])])
