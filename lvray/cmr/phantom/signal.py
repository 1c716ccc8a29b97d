"""What the scanner sees: heart over torso, slice thickness, coil, blur and Rician noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvray.cmr.phantom import heart as hearts
from lvray.cmr.phantom import torso as bodies
from lvray.cmr.phantom.heart import ANGLES, Heart
from lvray.cmr.phantom.people import rng
from lvray.cmr.phantom.scan import Plane, Scan
from lvray.cmr.phantom.torso import BLOOD, FAT, Image, Torso

THICKNESS_MM = 8.0
_WITHIN_SLICE = (-1 / 3, 0.0, 1 / 3)
_LINE, _WALL = 0.12, 0.35


@dataclass(frozen=True)
class Scanner:
    """Contrast and noise of one study: signals relative to blood, `noise` the SD in each channel.

    mottle and grain: patchiness of everything and of myocardium, as shares of the signal.
    """

    myocardium: float
    noise: float
    gain: float
    slope: NDArray[np.float64]
    mottle: float
    grain: float


def scanner(seed: int, number: int) -> Scanner:
    r = rng(seed, number, "scanner")
    return Scanner(
        myocardium=float(r.uniform(0.22, 0.33)), noise=float(r.uniform(0.025, 0.045)), gain=float(r.uniform(230, 420)),
        slope=r.normal(0, 0.0035, 3), mottle=float(r.uniform(0.04, 0.09)), grain=float(r.uniform(0.15, 0.35)),
    )


def frames(body: Heart, chest: Torso, view: Scan, plane: Plane, machine: Scanner, shares: NDArray[np.float64],
           drift: NDArray[np.float64], r: np.random.Generator) -> Iterator[NDArray[np.uint16]]:
    """One image [rows, columns], 12 bits, for each phase, given the share of the stroke volume that is out in each.

    drift: how far breathing moved the body in this plane, (x, y) in mm.
    """
    points = plane.points(view.rows, view.columns) - np.array([*drift, 0.0])
    from_heart = (points - [0, 0, body.length / 2]) @ view.axes
    field = bodies.coil(chest, from_heart, machine.slope) * machine.gain
    fine, coarse, patchy, speckle = (smooth(r, (view.rows, view.columns), mm / view.pixel_mm) for mm in (5, 24, 6, 3.5))
    still = bodies.background(chest, from_heart, fine, coarse)
    mottle, rough = (1 + machine.mottle * patchy).astype(np.float32), speckle.astype(np.float32)
    window = _near(points, body)
    normal = np.cross(plane.right, plane.down) / view.pixel_mm**2
    for share in shares:
        whole = still.copy()
        layers = [_beat(body, machine, still[window], points[window] + step * THICKNESS_MM * normal,
                        float(share), view.pixel_mm, rough[window]) for step in _WITHIN_SLICE]
        whole[window] = sum(layers[1:], layers[0]) / np.float32(len(layers))
        yield _received(whole * mottle, field, machine, r)


def smooth(r: np.random.Generator, shape: tuple[int, int], cell: float) -> NDArray[np.float64]:
    """Noise of mean 0 and SD about 1 [rows, columns] that varies over `cell` pixels."""
    coarse = r.normal(0, 1.35, [int(n / cell) + 3 for n in shape])
    for axis, n in enumerate(shape):
        at = np.arange(n) / cell
        low = at.astype(int)
        part = (at - low).reshape(-1, 1) if axis == 0 else at - low
        part = part * part * (3 - 2 * part)
        coarse = coarse.take(low, axis) * (1 - part) + coarse.take(low + 1, axis) * part
    return np.asarray(coarse)


def _near(points: NDArray[np.float64], body: Heart) -> tuple[slice, slice]:
    """The rows and columns that the heart can reach."""
    reach = (np.hypot(points[..., 0], points[..., 1]) < 105) & (np.abs(points[..., 2]) < 2 * body.length)
    rows, columns = np.flatnonzero(reach.any(1)), np.flatnonzero(reach.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


@dataclass(frozen=True)
class _Grid:
    """The pixels about the LV's centre, in mm. `level` is each pixel's row in curves [K, ANGLES], `look` its entry."""

    x: Image
    y: Image
    radius: Image
    level: NDArray[np.intp]
    look: NDArray[np.intp]
    pixel: float

    def inside(self, curves: NDArray[np.float64]) -> Image:
        """Share of each pixel within curves [K, ANGLES]."""
        return self._share(curves.astype(np.float32).ravel()[self.look] - self.radius)

    def ellipse(self, angle: float, far: NDArray[np.float64], size: NDArray[np.float64], stretch: float = 1.0) -> Image:
        """Share of each pixel in an ellipse at `far` [K] along `angle`, `size` [K] wide, `stretch` times as long."""
        if not size.any():
            return np.zeros_like(self.radius)
        ahead = self.x * np.float32(np.cos(angle)) + self.y * np.float32(np.sin(angle))
        aside = self.y * np.float32(np.cos(angle)) - self.x * np.float32(np.sin(angle))
        wide = size.astype(np.float32)[self.level]
        along = (ahead - far.astype(np.float32)[self.level]) / np.float32(stretch)
        return self._share(wide - np.hypot(along, aside)) * (wide > 0)

    def _share(self, depth: Image) -> Image:
        return np.asarray(np.clip(np.float32(0.5) + depth / np.float32(self.pixel), 0, 1))


def _grid(points: NDArray[np.float64], rows: NDArray[np.intp], centres: NDArray[np.float64], pixel: float) -> _Grid:
    x, y = ((points[..., i] - centres[rows, i, None]).astype(np.float32) for i in range(2))
    angle = np.rint(np.arctan2(y, x) * np.float32(ANGLES / (2 * np.pi))).astype(np.intp) % ANGLES
    level = np.broadcast_to(rows[:, None], x.shape)
    return _Grid(x, y, np.hypot(x, y), level, level * ANGLES + angle, pixel)


def _beat(body: Heart, machine: Scanner, still: Image, points: NDArray[np.float64], share: float, pixel: float,
          rough: Image) -> Image:
    """The heart painted over its still surroundings, outermost tissue first.

    points: [rows, columns, 3] in heart mm, z the same along a row.
    """
    z, rows = np.unique(points[:, 0, 2], return_inverse=True)
    grid = _grid(points, rows, hearts.centre(body, z, share), pixel)
    endo, epi, _ = hearts.walls(body, z, share)
    rv, rv_wall, fat = hearts.right_ventricle(body, z, share, epi)
    trunk, atrium, aorta = hearts.vessels(body, z, share)
    muscle = np.clip(machine.myocardium * (1 + machine.grain * rough), 0.08, 0.7)
    layers: list[tuple[Image | float, Image]] = [
        (_LINE, grid.inside(fat + 1.6 * (fat > 4))), (FAT * 0.75, grid.inside(fat)), (muscle, grid.inside(rv_wall)),
        (BLOOD * 0.93 - 0.19 * np.clip(rough, 0, 2), grid.inside(rv))]
    for at, far, size in (trunk, atrium):
        layers.append((_WALL, grid.ellipse(at, far, size + 1.8 * (size > 0))))
        layers.append((BLOOD * 0.95, grid.ellipse(at, far, size)))
    cavity = grid.inside(endo)
    sponge = np.minimum(body.rim_mm * (0.5 + z / body.length)[:, None], 0.5 * endo)
    layers += [(muscle, grid.inside(epi)), (BLOOD, grid.inside(endo - _trabeculae(body, z, endo))),
               (BLOOD, grid.ellipse(*aorta)),
               (muscle, (cavity - grid.inside(endo - sponge)) * np.clip(1.5 * (rough - 0.25), 0, 1))]
    for at, reach, size in hearts.papillaries(body, z, share):
        edge = endo[:, int(at / (2 * np.pi) * ANGLES) % ANGLES]
        layers.append((muscle, grid.ellipse(at, reach * edge, size, 1.5) * cavity))
    image = still
    for signal, where in layers:
        image = image + (signal - image) * where
    return image


def _trabeculae(body: Heart, levels: NDArray[np.float64], endo: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far trabeculae reach into the cavity [K, ANGLES] in mm: more so towards the apex."""
    grid = body.trabeculae
    z = np.clip(levels / 6, 0, len(grid) - 1.001)
    low = z.astype(int)
    column = np.arange(ANGLES) * grid.shape[1] / ANGLES
    left = column.astype(int)
    turn = column - left
    rows = [grid[k][:, left] * (1 - turn) + grid[k][:, (left + 1) % grid.shape[1]] * turn for k in (low, low + 1)]
    part = (z - low)[:, None]
    deep = np.clip(0.8 + 2.4 * (levels / body.length)[:, None], 0.5, 2.6)
    return np.asarray(np.minimum(deep * (rows[0] * (1 - part) + rows[1] * part), 0.45 * endo))


def _received(image: Image, field: Image, machine: Scanner, r: np.random.Generator) -> NDArray[np.uint16]:
    """Blur, coil and Rician noise; 12 bits."""
    noise = r.standard_normal((2, *image.shape), dtype=np.float32) * np.float32(machine.noise * machine.gain)
    real, imaginary = _blurred(_blurred(image, 0.09) * field + noise[0], 0.07), _blurred(noise[1], 0.07)
    return np.asarray(np.clip(np.rint(np.hypot(real, imaginary)), 0, 4095), dtype=np.uint16)


def _blurred(image: Image, side: float) -> Image:
    """Each pixel shares with its four neighbours, first along rows, then along columns."""
    for axis in range(2):
        padded = np.pad(image, [(1, 1) if a == axis else (0, 0) for a in range(2)], mode="edge")
        before, after = (padded.take(np.arange(image.shape[axis]) + k, axis) for k in (0, 2))
        image = np.float32(1 - 2 * side) * image + np.float32(side) * (before + after)
    return image
