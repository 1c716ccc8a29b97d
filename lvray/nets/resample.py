"""Pixels elsewhere, at another distance, turned or not: linear between those around, and where they grow, the mean of
what each one covers, weighted by nearness (a triangle along rows and columns). No matrix products: their last bits
depend on the number of threads."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
Step = tuple[float, float]


def resample(image: npt.NDArray[np.generic], at: Points, step: Step) -> Floats:
    """[Z, Y, X] -> float32 [Z, P]. at: float64 [2, P], rows and columns of the points in the image's index; step: how
    many rows and columns a point stands for. Beyond its edge the image goes on as it ends."""
    plane = image.reshape(len(image), -1).astype(np.float32)
    out = np.zeros((len(image), at.shape[1]), np.float32)
    (rows, shares_y), (columns, shares_x) = (
        _near(line, reach, n) for line, reach, n in zip(at, step, image.shape[1:], strict=True))
    for (row, y), (column, x) in itertools.product(zip(rows, shares_y, strict=True),
                                                   zip(columns, shares_x, strict=True)):
        out += plane.take(row * image.shape[2] + column, 1) * (y * x)
    return out


def resample_labels(mask: npt.NDArray[np.uint8], at: Points, step: Step) -> npt.NDArray[np.uint8]:
    """uint8 [Z, Y, X] -> uint8 [Z, P]: the label of the greatest share of what a point is made of,
    the lowest of several."""
    return _greatest({int(label): resample(mask == label, at, step) for label in np.unique(mask)})


def resample_shares(shares: npt.NDArray[np.uint8], at: Points, step: Step) -> npt.NDArray[np.uint8]:
    """uint8 [K, Z, Y, X], in 255ths, of labels 1 to K -> uint8 [Z, P]: the label of the greatest share, 0 where what
    they leave is greater."""
    parts = {label: resample(share, at, step) for label, share in enumerate(shares, 1)}
    rest: Floats = 255 - np.sum(list(parts.values()), 0)
    return _greatest({0: rest, **parts})


def _greatest(shares: dict[int, Floats]) -> npt.NDArray[np.uint8]:
    labels = sorted(shares)
    out: npt.NDArray[np.uint8] = np.array(labels, np.uint8)[np.argmax([shares[label] for label in labels], 0)]
    return out


def _near(at: npt.NDArray[np.float64], step: float, n: int) -> tuple[npt.NDArray[np.intp], Floats]:
    """The pixels of a line of n that each point is made of, [T, P], and their shares of it."""
    reach = max(1.0, step)
    near = (np.floor(at - reach) + 1).astype(np.intp) + np.arange(int(np.ceil(2 * reach)))[:, None]
    shares = np.clip(1 - np.abs(near - at) / reach, 0, None)
    return near.clip(0, n - 1), (shares / shares.sum(0)).astype(np.float32)
