"""A study at end diastole for a page: a PNG a slice, base to apex, in its own grid, and the outlines in its pixels."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import find_contours

from lvray.cmr.mass import CAVITY
from lvray.estimate import View

WINDOW = (1.0, 99.5)
"""Percentiles of the stack that become black and white."""
DECIMALS = 2


def picture(seen: View, mask: NDArray[np.uint8] | None) -> dict[str, Any]:
    """{"spacing_mm": [dy, dx], "slices": [PNG as a data: URI ...], "contours": [{"endo": [[x, y] ...] or None, "epi":
    ...} ...]}. mask: [Z, Y, X] in the study's own grid; None: a regressor draws nothing. A pixel's centre is a whole
    number."""
    image = seen.turn.undo(seen.image).astype(np.float32)
    low, high = np.percentile(image, WINDOW)
    grey = np.clip((image - low) * (255 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)
    masks = np.zeros(image.shape, np.uint8) if mask is None else mask
    return {"spacing_mm": list(seen.own_spacing[1:]),
            "slices": [f"data:image/png;base64,{base64.b64encode(_png(one)).decode()}" for one in grey],
            "contours": [{"endo": outline(one == CAVITY), "epi": outline(one > 0)} for one in masks]}


def outline(region: NDArray[np.bool_]) -> list[list[float]] | None:
    """The longest line around a region [Y, X], closed; None where it is empty."""
    lines = find_contours(np.pad(region, 1).astype(np.float32), 0.5)
    if not lines:
        return None
    longest = max(lines, key=len)[:, ::-1] - 1  # (row, column) to (x, y); without the margin
    found: list[list[float]] = np.round(longest, DECIMALS).tolist()
    return found


def _png(grey: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "PNG")
    return out.getvalue()
