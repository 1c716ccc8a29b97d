"""The heart in one slice: painted over its surroundings at several planes through the thickness, and averaged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvray.cmr.generated import curves
from lvray.cmr.generated.anatomy import Papillary, Right, Ventricle, Wrapping
from lvray.cmr.generated.contrast import Contrast
from lvray.cmr.generated.draws import ANGLES, Curves, Floats, Image, chance, normal, uniform


@dataclass(frozen=True)
class Heart:
    """All that is painted. roll: of the heart in the body, in radians; the rest is how its blood and muscle look.

    flow: SD of patches in the blood; fade: its gain from base to apex; jet: a dark one, as (angle, how dark, half width
    and half length, distance from the centre and level where it ends), or None; speckle: SD of muscle.
    """

    left: Ventricle
    right: Right
    wrapping: Wrapping
    roll: float
    flow: float
    fade: float
    jet: tuple[float, float, float, float, float, float] | None
    speckle: float

    @property
    def reach(self) -> float:
        """Half the side in mm of a square around `middle` that holds all of the heart."""
        outer = 1.1 * (self.left.radius + self.left.wall)
        return outer + max(self.right.depth, 40) / 2 + 22

    @property
    def middle(self) -> NDArray[np.float64]:
        """(x, y) in body coordinates between the ventricles."""
        away = self.right.at + self.roll
        return max(self.right.depth, 40) / 2 * np.array([np.cos(away), np.sin(away)])


def look(r: np.random.Generator, left: Ventricle, side: Right, wrapping: Wrapping) -> Heart:
    jet = (uniform(r, 0, 2 * np.pi), uniform(r, 0.2, 0.8), uniform(r, 2, 7), uniform(r, 6, 20), normal(r, 0, 8),
           uniform(r, 0.2, 0.8)) if chance(r, 0.15) else None
    return Heart(left, side, wrapping, roll=normal(r, 0, 0.2), flow=uniform(r, 0.01, 0.12), fade=normal(r, 0, 0.15),
                 jet=jet, speckle=uniform(r, 0.02, 0.2))


@dataclass(frozen=True)
class Polar:
    """Pixels [rows, columns] about a centre: `radius` in mm, `look` the entry of each in `_looked_up` curves.

    pixel: in mm. What is asked of several planes at once comes as [steps, rows, columns].
    """

    x: Image
    y: Image
    radius: Image
    look: NDArray[np.intp]
    pixel: np.float32

    def depth(self, curve: Curves) -> Image:
        """How far inside curves [steps, ANGLES], in mm."""
        return self.at(curve) - self.radius

    def at(self, curve: Curves) -> Image:
        """Values of curves [steps, ANGLES] in each pixel's direction."""
        return np.asarray(_looked_up(curve).take(self.look, 1))

    def share(self, depth: Floats) -> Image:
        return np.asarray(np.clip(np.float32(0.5) + depth / self.pixel, 0, 1))

    def disc(self, middle: NDArray[np.float64], radius: NDArray[np.float64]) -> Image:
        """Depth in discs: middle [steps, 2], radius [steps]; outside everything where the radius is 0."""
        x, y, size = (a.astype(np.float32)[:, None, None] for a in (middle[:, 0], middle[:, 1], radius))
        return np.asarray(np.where(size > 0.5, size - np.hypot(self.x - x, self.y - y), np.float32(-1e3)))

    def within(self, radius: float) -> tuple[tuple[slice, slice], Polar]:
        """The rows and columns where a pixel lies so near, and this there."""
        where = _span(self.radius.min(1) < radius), _span(self.radius.min(0) < radius)
        return where, Polar(self.x[where], self.y[where], self.radius[where], self.look[where], self.pixel)


def polar(x: Image, y: Image, middle: NDArray[np.float64], pixel: float) -> Polar:
    """x, y [rows, columns] in heart coordinates; middle [2]."""
    u, v = x - np.float32(middle[0]), y - np.float32(middle[1])
    turn = np.arctan2(v, u)
    turn += np.float32(np.pi + np.pi / ANGLES)
    turn *= np.float32(ANGLES / (2 * np.pi))
    return Polar(u, v, np.hypot(u, v), turn.astype(np.intp), np.float32(pixel))


def _span(true: NDArray[np.bool_]) -> slice:
    """From the first to the last that is true."""
    at = np.flatnonzero(true)
    return slice(at[0], at[-1] + 1) if len(at) else slice(0)


def _looked_up(curve: Curves) -> Image:
    """Curves from -180 to 180 degrees, both included [steps, ANGLES + 1]."""
    half = ANGLES // 2
    return np.concatenate([curve[:, half:], curve[:, :half + 1]], 1).astype(np.float32)


def paint(heart: Heart, tones: Contrast, under: Image, x: Image, y: Image, planes: NDArray[np.float64], pixel: float,
          noise: tuple[Image, ...]) -> Image:
    """The picture [rows, columns] of a window. x, y: heart coordinates; planes: z through the thickness;
    noise: Grain's fields there."""
    fine, middle, coarse, _, _ = noise
    left, side = heart.left, heart.right
    centre = curves.centre(left, planes.mean(keepdims=True))[0]
    grid = polar(x, y, centre, pixel)
    endo, epi, _ = curves.walls(left, planes)
    place, outline = curves.right_ventricle(left, side, planes)
    about = polar(x, y, centre + place.mean(0), pixel)
    beyond = np.maximum(planes - left.length, 0).astype(np.float32)[:, None, None]
    in_epi, in_right = grid.depth(epi) - beyond, about.depth(outline) - beyond
    level = float(planes.mean() / left.length)
    blood = (1 + heart.flow * coarse) * np.float32(1 + heart.fade * (0.5 - level))
    muscle = 1 + heart.speckle * fine
    scene = np.broadcast_to(under, in_epi.shape).copy()

    uneven = 2 * coarse + middle
    *rounds, aorta = [grid.disc(*pool) + uneven if pool[1].any() else None for pool in curves.pools(left, side, planes)]
    hull = _round_union(in_epi, in_right + np.float32(side.wall), heart.wrapping.groove)
    for pool in rounds:
        hull = hull if pool is None else _round_union(hull, pool, 8.0)
    fatty = _wrap(heart.wrapping, tones, scene, grid, hull, middle, coarse)
    for pool, tone in zip(rounds, (tones.atrial_blood, tones.atrial_blood, tones.right_blood), strict=True):
        if pool is not None:
            _over(scene, tones.right_wall, grid.share(pool + np.float32(side.septa)))
            _over(scene, tone * blood, grid.share(pool))
    edge = in_right + np.float32(side.wall)
    _ink(scene, tones.ink, grid.share(edge) * fatty)
    _over(scene, tones.right_wall * muscle, grid.share(edge))
    _over(scene, tones.right_blood * blood, about.share(in_right))
    strands = np.clip((fine + middle) * np.float32(1.2) - np.float32(1.8 - 1.4 * side.muscle), 0, 1)
    _over(scene, tones.right_wall * muscle, strands * about.share(in_right) * np.clip(1.2 - in_right / 14, 0, 1))
    if side.band is not None:
        at, turn, off = side.band
        line = about.x * np.float32(np.sin(turn)) + about.y * np.float32(np.cos(turn)) - np.float32(off)
        strip = 1.8 - np.abs(line) + 40 * min(0.0, 0.12 - abs(level - at))
        _over(scene, tones.right_wall * muscle, about.share(strip) * about.share(in_right))
    _ink(scene, tones.ink, grid.share(in_epi) * fatty)
    _over(scene, tones.myocardium * muscle, grid.share(in_epi))
    (rows, columns), near = grid.within(float(endo.max()) + pixel)
    _cavity(heart, tones, scene[:, rows, columns], near, endo, planes,
            *(a[rows, columns] for a in (blood, muscle, fine)))
    if aorta is not None:
        _over(scene, tones.right_wall, grid.share(aorta + np.float32(side.septa)) * np.float32(level < 0))
        _over(scene, tones.blood * blood, grid.share(aorta))
    return np.asarray(scene.mean(0))


def _wrap(of: Wrapping, tones: Contrast, scene: Image, grid: Polar, hull: Image, middle: Image,
          coarse: Image) -> Image:
    """Outer fat, pericardium, fluid and inner fat around the depth `hull`; -> where there is fat next to the muscle."""
    fat = grid.at(np.broadcast_to(of.fat, (len(hull), ANGLES)))
    inner = hull + fat * (1 + np.float32(0.3) * middle)
    sac = inner + np.float32(of.fluid) * np.clip(0.6 + 0.5 * coarse, 0, 2)
    rim = sac + np.float32(of.pericardium)
    outer = rim + np.float32(of.outer) * np.clip(0.4 + np.float32(of.outer_patchy) * coarse, 0, 2.5)
    _over(scene, tones.outer_fat * (1 + 0.07 * middle), grid.share(outer))
    _over(scene, tones.pericardium, grid.share(rim))
    _over(scene, tones.fluid, grid.share(sac) * np.float32(of.fluid > 0))
    fatty = grid.share(inner) * np.clip((inner - hull) / grid.pixel + (hull < 0) - 0.5, 0, 1)
    _over(scene, tones.fat * (1 + 0.07 * middle), grid.share(inner))
    return np.asarray(fatty)


def _cavity(heart: Heart, tones: Contrast, scene: Image, grid: Polar, endo: Curves, planes: NDArray[np.float64],
            blood: Image, muscle: Image, fine: Image) -> None:
    """Blood, trabeculae and papillary muscles, within the endocardium."""
    left = heart.left
    depth = grid.depth(endo)
    inside = grid.share(depth)
    _over(scene, tones.blood * blood, inside)
    if heart.jet is not None:
        at, dark, wide, long, off, ends = heart.jet
        cos, sin = np.float32(np.cos(at)), np.float32(np.sin(at))
        across, along = grid.y * cos - grid.x * sin - np.float32(off), grid.x * cos + grid.y * sin
        dark *= float(np.clip(3 - 3 * planes.mean() / left.length / ends, 0, 1))
        _over(scene, tones.blood * (1 - dark), inside * np.exp(-((across / wide) ** 2) - (along / long) ** 2))
    share = np.clip(planes / left.length, 0, 1).astype(np.float32)[:, None, None]
    rim = np.minimum(np.float32(left.rim_mm) * (0.3 + share), grid.at(endo) / 2) + np.float32(1e-3)
    spikes = np.clip(np.float32(1.5) * (fine + np.float32(0.5)), 0, 1) * np.float32(left.rim_muscle)
    _over(scene, tones.papillary * muscle, inside * spikes * np.clip(1.5 - depth / rim, 0, 1) * (rim > 0.3))
    for one in left.papillaries:
        _over(scene, tones.papillary * muscle, _muscle(one, grid, endo, planes / left.length, fine) * inside)


def _muscle(one: Papillary, grid: Polar, endo: Curves, level: NDArray[np.float64], fine: Image) -> Image:
    """Share of a papillary muscle: it grows from nothing and joins the wall at its apical end."""
    low, high = one.levels
    along = (level - low) / (high - low)
    size = (one.size * np.sqrt(np.clip(4 * along * (1 - along), 0, 1))).astype(np.float32)[:, None, None]
    if not size.any():
        return np.zeros_like(grid.radius)
    reach = one.reach + (1 - one.reach) * np.clip(along, 0, 1) ** 2
    reach = reach * endo[:, int(one.at / (2 * np.pi) * ANGLES) % ANGLES]
    cos, sin = np.float32(np.cos(one.at)), np.float32(np.sin(one.at))
    ahead = (grid.x * cos + grid.y * sin - reach.astype(np.float32)[:, None, None]) / np.float32(one.stretch)
    aside = grid.y * cos - grid.x * sin
    return grid.share(size * (1 + np.float32(0.25) * fine) - np.hypot(ahead, aside)) * (size > 0.3)


def _round_union(one: Floats, other: Floats, round_mm: float) -> Image:
    """Depth in either of two shapes, the groove where they meet filled to a radius."""
    near = np.clip(np.float32(round_mm) - np.abs(one - other), 0, None)
    return np.asarray(np.maximum(one, other) + near * near / np.float32(4 * round_mm))


def _over(scene: Image, signal: Floats | float, share: Floats) -> None:
    scene += (signal - scene) * share


def _ink(scene: Image, ink: float, edge: Floats) -> None:
    """The dark line where fat and muscle share a voxel. edge: share of the one in the other."""
    scene *= 1 - np.float32(2.8 * ink) * edge * (1 - edge)
