"""From settings to a network."""

from __future__ import annotations

from lvray.nets.regressor import Regressor
from lvray.nets.segmenter import Segmenter


def build(kind: str, width: int, box: tuple[int, int, int], pixel_size: bool,
          pitch: bool = False) -> Segmenter | Regressor:
    """The network of kind "seg" or "reg" with fresh weights from torch's global generator. ValueError: another kind.

    The segmenter has no use for the box: it takes any number of slices. pitch has no effect without pixel_size.
    """
    if kind == "seg":
        return Segmenter(width, pixel_size, pitch)
    if kind == "reg":
        return Regressor(width, box, pixel_size, pitch)
    raise ValueError(f"network kind {kind!r}: there are 'seg' and 'reg'")
