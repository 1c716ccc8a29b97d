"""A checkpoint at a URI as the method that it is."""

from __future__ import annotations

from lvray.nets.predict import Predictor, load
from lvray.shards import folders

NAMES = {"seg": "ML4Hseg", "reg": "ML4Hreg"}


def name_of(predictor: Predictor) -> str:
    """The method's name."""
    return NAMES[predictor.network["kind"]]


def fetch(checkpoint: str) -> Predictor:
    """The predictor of a checkpoint at a URI. CheckpointError, EnvironmentFault."""
    with folders.local(checkpoint, "the checkpoint") as folder:
        return load(folder)
