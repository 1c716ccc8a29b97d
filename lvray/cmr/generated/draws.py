"""Random numbers and smooth noise, the same bits for the same seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]
"""Images where arithmetic leaves the type checker in doubt; they are float32."""
Curves = NDArray[np.float64]
"""Radii in mm at each of ANGLES angles, [planes, ANGLES]."""

ANGLES = 720
THETA: NDArray[np.float64] = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False, dtype=np.float64)

Kind = TypeVar("Kind", bound=str)


def uniform(r: np.random.Generator, low: float, high: float) -> float:
    return float(r.uniform(low, high))


def normal(r: np.random.Generator, mean: float, sd: float, low: float = -np.inf, high: float = np.inf) -> float:
    """Normal, cut off at the limits."""
    return float(np.clip(r.normal(mean, sd), low, high))


def chance(r: np.random.Generator, share: float) -> bool:
    return bool(r.random() < share)


def one_of(r: np.random.Generator, shares: Mapping[Kind, float]) -> Kind:
    """A name, each as often as its share, which add up to 1."""
    names = list(shares)
    at = int(np.searchsorted(np.cumsum(list(shares.values())), r.random(), side="right"))
    return names[min(at, len(names) - 1)]


def away(angle: float) -> NDArray[np.float64]:
    """How far each of THETA is from an angle, signed, in radians [ANGLES]."""
    return np.asarray((THETA - angle + np.pi) % (2 * np.pi) - np.pi)


def bump(angle: float, width: float) -> NDArray[np.float64]:
    """1 at an angle, falling to 0 like a Gaussian of `width` radians [ANGLES]."""
    return np.asarray(np.exp(-0.5 * (away(angle) / width) ** 2))


def waves(r: np.random.Generator, size: float, first: int = 2, last: int = 5, fade: float = 1.0) -> NDArray[np.float64]:
    """A random periodic function [ANGLES] of mean 0, from `first` to `last` waves around, finer ones smaller."""
    out = np.zeros(ANGLES)
    for k in range(first, last + 1):
        a, b = r.normal(0, size / (k / first) ** fade, 2)
        out += a * np.cos(k * THETA) + b * np.sin(k * THETA)
    return out


def smooth(r: np.random.Generator, shape: tuple[int, int, int], cells: tuple[float, float, float]) -> Image:
    """Noise of mean 0 and SD about 1 [shape] that varies over so many entries along each axis.

    Without matrix products: their last bits depend on the number of threads.
    """
    grid: Image = r.standard_normal([int(n / cell) + 3 for n, cell in zip(shape, cells, strict=True)], np.float32)
    grid *= np.float32(1.3)
    for axis, (n, cell) in enumerate(zip(shape, cells, strict=True)):
        at = np.arange(n) / cell + r.random()
        low = at.astype(np.intp)
        part = at - low
        eased = (part * part * (3 - 2 * part)).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        below = grid.take(low, axis, mode="clip")
        step = np.diff(grid, axis=axis).take(low, axis, mode="clip")
        step *= eased
        below += step
        grid = below
    return grid
