"""Outlines as polygons on the pixel grid: the true ones, and those that InlineVF would have drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon_perimeter

from lvray.cmr.phantom import heart as hearts
from lvray.cmr.phantom.heart import ANGLES, THETA, Curves, Heart
from lvray.cmr.phantom.people import Person, rng
from lvray.cmr.phantom.scan import Scan

_SMALLEST_DRAWN_MM = 3.5
_VERTICES = 72


@dataclass(frozen=True)
class Outline:
    """Polygons [N, 2] of (x, y) = (column, row), 0 at the first pixel's centre, of one slice.

    endo is None where the apex has no cavity. In the gap of a C the two polygons share their vertices.
    """

    endo: NDArray[np.float64] | None
    epi: NDArray[np.float64]


@dataclass(frozen=True)
class Bias:
    """How one study's InlineVF is wrong, in mm: the same offset all round, and ripples [Z, waves, (cos, sin)]."""

    endo: float
    epi: float
    ripples: NDArray[np.float64]
    skip_base: bool
    scale: float
    shift: NDArray[np.float64]


def true_outlines(body: Heart, view: Scan, share: float) -> list[Outline | None]:
    """The true outlines of every slice, base to apex, when `share` of the stroke is out; None without LV."""
    endo, epi, _ = hearts.outlines(body, share)
    return [_outline(body, view, k, share, endo[k], epi[k], 0.0) for k in range(len(endo))]


def inlinevf_outlines(body: Heart, view: Scan, share: float, bias: Bias) -> list[Outline | None]:
    """The outlines that InlineVF draws in every slice. A gap of the C stays a gap."""
    endo, epi, counts = hearts.outlines(body, share)
    gap = epi - endo < 0.2
    waves = np.arange(1, bias.ripples.shape[2] + 1)[:, None] * THETA
    wobble = [(side[..., 0, None] * np.cos(waves) + side[..., 1, None] * np.sin(waves)).sum(1) for side in bias.ripples]
    moved = np.where(endo > 0, np.maximum(endo + bias.endo + wobble[0], 1.0), 0.0)
    outer = np.where(gap, moved, np.maximum(epi + bias.epi + wobble[1], moved + 1.0))
    if bias.skip_base:
        counts = counts & (np.cumsum(counts) > 1)
    moved, outer = moved * counts[:, None] * bias.scale, outer * counts[:, None] * bias.scale
    return [_outline(body, view, k, share, moved[k], outer[k], _SMALLEST_DRAWN_MM, bias.shift)
            for k in range(len(moved))]


def bias(who: Person, seed: int, number: int, slices: int) -> Bias:
    """InlineVF's error: the epicardium too far out, more so in men, plus noise; or grossly wrong."""
    r = rng(seed, number, "inlinevf")
    fade = np.array([1.0, 0.8, 0.55, 0.4, 0.3])[:, None]
    usual = Bias(
        endo=float(r.normal(-0.2, 0.4)), epi=float(r.normal(1.25 if who.sex == "M" else 0.85, 0.7)),
        ripples=r.normal(0, 0.6, (2, slices, 5, 2)) * fade, skip_base=bool(r.random() < 0.15), scale=1.0,
        shift=np.zeros(2),
    )
    if who.inlinevf != "gross":
        return usual
    if r.random() < 0.4:
        angle = r.uniform(0, 2 * np.pi)
        return replace(usual, shift=np.array([np.cos(angle), np.sin(angle)]) * r.uniform(22, 34))
    return replace(usual, scale=float(r.uniform(1.3, 1.5) if r.random() < 0.5 else r.uniform(0.4, 0.6)))


def mask(body: Heart, view: Scan, share: float) -> NDArray[np.uint8]:
    """The true mask [Z, rows, columns]: 0 background, 1 cavity (papillaries in it), 2 myocardium, by pixel centres."""
    endo, epi, _ = hearts.outlines(body, share)
    middle = hearts.centre(body, body.z, share) + view.drift
    out = np.zeros((len(body.z), view.rows, view.columns), np.uint8)
    for k in range(len(out)):
        x, y = np.moveaxis(view.short_axis(k).points(view.rows, view.columns)[..., :2] - middle[k], -1, 0)
        radius, angle = np.hypot(x, y), np.arctan2(y, x)
        inside = [radius < np.interp(angle, THETA, curve, period=2 * np.pi) for curve in (endo[k], epi[k])]
        out[k] = np.where(inside[0], 1, np.where(inside[1], 2, 0))
    return out


def raster(outline: Outline, rows: int, columns: int) -> NDArray[np.bool_]:
    """The outline's polygons drawn one pixel thin and 8-connected [rows, columns]; what falls outside is lost."""
    drawn = np.zeros((rows, columns), bool)
    for polygon in (outline.endo, outline.epi):
        if polygon is not None:
            x, y = np.rint(polygon).astype(int).T
            i, j = polygon_perimeter(y, x)
            kept = (i >= 0) & (i < rows) & (j >= 0) & (j < columns)
            drawn[i[kept], j[kept]] = True
    return drawn


def _outline(body: Heart, view: Scan, index: int, share: float, endo: Curves, epi: Curves, smallest: float,
             shift: NDArray[np.float64] | float = 0.0) -> Outline | None:
    if not epi.any():
        return None
    steps = slice(None) if smallest == 0 else slice(None, None, ANGLES // _VERTICES)
    middle = hearts.centre(body, body.z[index:index + 1], share)[0] + shift
    around = np.stack([np.cos(THETA), np.sin(THETA)], -1)
    polygons = [view.pixels(middle + (curve[:, None] * around)[steps], index) for curve in (endo, epi)]
    return Outline(polygons[0] if endo.mean() > smallest else None, polygons[1])
