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
    """Noise of mean 0 and SD about 1 [shape] that varies over so many entries along each axis."""
    grid = r.standard_normal([int(n / cell) + 3 for n, cell in zip(shape, cells, strict=True)], np.float32)
    z, y, x = (_between(n, cell, len_in, r) for n, cell, len_in in zip(shape, cells, grid.shape, strict=True))
    grid = np.tensordot(z, grid, 1) * np.float32(1.3)
    return np.asarray((y @ grid) @ x.T)


def _between(n: int, cell: float, nodes: int, r: np.random.Generator) -> Image:
    """Weights [n, nodes] of a curve through the nodes, `cell` entries apart."""
    at = np.arange(n) / cell + r.random()
    low = at.astype(np.intp)
    part = at - low
    part = part * part * (3 - 2 * part)
    out = np.zeros((n, nodes), np.float32)
    out[np.arange(n), low] = 1 - part
    out[np.arange(n), low + 1] += part
    return out
