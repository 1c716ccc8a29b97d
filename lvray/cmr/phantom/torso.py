"""What surrounds the heart, as a still three-dimensional body: skin, ribs, lungs, liver, stomach, aorta and spine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvray.cmr.phantom.people import Person, rng

FAT, LUNG, MUSCLE, LIVER, BLOOD = 1.35, 0.07, 0.30, 0.46, 1.0
"""bSSFP signal at 1.5 T relative to blood."""

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Torso:
    """Lengths in mm, LPS directions, from the middle of the chest at the heart's level."""

    heart: NDArray[np.float64]
    half_axes: tuple[float, float]
    skin: float
    diaphragm: float
    liver_edge: float
    stomach: float


def torso(person: Person, seed: int, number: int) -> Torso:
    r = rng(seed, number, "torso")
    broad = np.sqrt(person.weight_kg / 75)
    return Torso(
        heart=np.array([36.0, -34.0, 0.0]) + r.normal(0, 4, 3),
        half_axes=(162 * broad + r.normal(0, 5), 112 * broad + r.normal(0, 4)),
        skin=float(np.clip(r.normal(15, 5) * broad**2, 6, 35)), diaphragm=float(r.normal(-29, 5)),
        liver_edge=float(r.normal(35, 12)), stomach=float(r.uniform(0.2, 1.1)),
    )


def background(body: Torso, lps: NDArray[np.float64], noise: NDArray[np.float64],
               drift: NDArray[np.float64]) -> Image:
    """Signal [...] at points [..., 3] in mm from the LV's middle.

    noise and drift [...], fine and coarse, of SD 1: vessels in the lung, and borders that are not straight.
    """
    x, y, s = np.moveaxis(lps + body.heart, -1, 0)
    depth = _depth(body, x, y)
    dome = body.diaphragm - 0.0018 * ((x - 20) ** 2 + 1.4 * (y + 25) ** 2) + 2 * drift
    lung = LUNG + 0.5 * np.clip(noise - 1.25, 0, 1)
    middle = MUSCLE + (0.7 * FAT - MUSCLE) * np.clip(0.6 + drift, 0, 1) + 0.08 * noise
    signal = _over(lung, middle, 26 + 7 * drift - np.hypot(x - 5, 0.55 * (y + 20)))
    signal = _over(signal, _abdomen(body, x, s, noise, drift), dome - s)
    signal = _over(signal, np.full_like(s, BLOOD), 11 - np.hypot(x - 22, y - 62))
    signal = _over(signal, 0.34 + 0.08 * noise, 21 - np.hypot(x, y - 88))
    signal = _over(signal, np.full_like(s, FAT * 0.8), 16 - np.hypot(x - 5, (y + 0.8 * body.half_axes[1]) * 0.8))
    rib = 0.5 + 0.5 * np.sin(0.28 * s + 0.02 * x)
    signal = _over(signal, MUSCLE * (0.5 + rib) + 0.5 * np.clip(rib - 0.7, 0, 1), body.skin + 15 - depth)
    signal = _over(signal, FAT * (1 + 0.06 * noise), body.skin - depth)
    return _over(signal, np.full_like(s, 0.01), -depth).astype(np.float32)


def coil(body: Torso, lps: NDArray[np.float64], slope: NDArray[np.float64]) -> Image:
    """Sensitivity of the surface coil [...]: it falls with depth below the chest wall, on top of a smooth ramp [3]."""
    near = np.clip((lps + body.heart)[..., 1] + body.half_axes[1], 0, None)
    return np.asarray(np.exp(lps @ slope) * (0.6 + 0.75 * np.exp(-near / 80)), dtype=np.float32)


def _abdomen(body: Torso, x: NDArray[np.float64], s: NDArray[np.float64], noise: NDArray[np.float64],
             drift: NDArray[np.float64]) -> NDArray[np.float64]:
    edge = body.liver_edge - x + 8 * drift + 0.15 * s
    liver = LIVER * (1 + 0.05 * noise) + 0.35 * np.clip(noise - 1.45, 0, 1)
    bowel = body.stomach + (0.75 * FAT - body.stomach) * np.clip(0.5 - 2 * drift, 0, 1) + 0.06 * noise
    return _over(_over(bowel, np.full_like(s, FAT * 0.7), edge + 5), liver, edge)


def _depth(body: Torso, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """mm below the skin, of an elliptic chest."""
    a, b = body.half_axes
    level = np.hypot(x / a, y / b)
    return np.asarray((1 - level) * level / np.maximum(np.hypot(x / a**2, y / b**2), 1e-6))


def _over(under: NDArray[np.float64], top: NDArray[np.float64], inside: NDArray[np.float64]) -> NDArray[np.float64]:
    """`top` where `inside` (mm) is positive, with an edge about a pixel wide and dark, as between water and fat."""
    share = np.clip(0.5 + inside / 2, 0, 1)
    return np.asarray((under + (top - under) * share) * (1 - 0.6 * np.exp(-(inside**2) / 1.5)))
