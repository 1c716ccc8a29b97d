"""Pixels at another distance: linear between two of them, and where they grow, the mean of what each one covers,
weighted by nearness (a triangle). No matrix products: their last bits depend on the number of threads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def resample(image: npt.NDArray[np.generic], rows: tuple[float, float, int],
             columns: tuple[float, float, int]) -> Floats:
    """[Z, Y, X] -> float32 [Z, rows, columns]. Of rows and of columns: where the first lies in the image's index, how
    far they are apart there, and how many there are. Beyond its edge the image goes on as it ends."""
    return _along(_along(image.astype(np.float32), 1, *rows), 2, *columns)


def resample_labels(mask: npt.NDArray[np.uint8], rows: tuple[float, float, int],
                    columns: tuple[float, float, int]) -> npt.NDArray[np.uint8]:
    """uint8 [Z, Y, X] -> uint8 [Z, rows, columns]: the label that fills most of each pixel."""
    shares = {int(label): resample(mask == label, rows, columns) for label in np.unique(mask)}
    return _greatest(shares)


def resample_shares(shares: npt.NDArray[np.uint8], rows: tuple[float, float, int],
                    columns: tuple[float, float, int]) -> npt.NDArray[np.uint8]:
    """uint8 [K, Z, Y, X], in 255ths, of labels 1 to K -> uint8 [Z, rows, columns]: the label of the greatest share, 0
    where what they leave is greater."""
    parts = {label: resample(share, rows, columns) for label, share in enumerate(shares, 1)}
    rest: Floats = 255 - np.sum(list(parts.values()), 0)
    return _greatest({0: rest, **parts})


def _greatest(shares: dict[int, Floats]) -> npt.NDArray[np.uint8]:
    """The label of the greatest share of each pixel, the lowest of several."""
    labels = sorted(shares)
    out: npt.NDArray[np.uint8] = np.array(labels, np.uint8)[np.argmax([shares[label] for label in labels], 0)]
    return out


def _along(values: Floats, axis: int, start: float, step: float, count: int) -> Floats:
    reach = max(1.0, step)
    at = start + step * np.arange(count)
    near = (np.floor(at - reach) + 1).astype(np.intp)[:, None] + np.arange(int(np.ceil(2 * reach)))
    weights = np.clip(1 - np.abs(near - at[:, None]) / reach, 0, None)
    weights /= weights.sum(1, keepdims=True)
    taps = zip(near.clip(0, values.shape[axis] - 1).T, weights.T.astype(np.float32), strict=True)
    across = [-1 if a == axis else 1 for a in range(3)]
    out = np.zeros([count if a == axis else n for a, n in enumerate(values.shape)], np.float32)
    for index, weight in taps:
        out += values.take(index, axis) * weight.reshape(across)
    return out
