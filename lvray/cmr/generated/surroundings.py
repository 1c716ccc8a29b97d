"""What lies around the heart in a short-axis picture: chest wall, lungs, liver, stomach, spine, arms; or nonsense.

Body coordinates in mm, as the canonical picture shows them: x toward the patient's left, y toward feet and back, 0 at
the heart; z to the apex, from the middle of the LV. The sternum lies up and left, the liver down and left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lvray.cmr.generated.contrast import Contrast
from lvray.cmr.generated.draws import Floats, Image, chance, normal, one_of, smooth, uniform

Stuff = Literal["gas", "fluid", "food"]


@dataclass(frozen=True)
class Body:
    """Lengths in mm, pairs are (x, y). wall: muscle and ribs; bridge: fat from the heart to the sternum, half width;
    diaphragm: y below the heart's middle, slope, curvature, where it is highest, and how it rises with z;
    blobs: how much of the picture is nonsense, 0 to 1."""

    middle: tuple[float, float]
    half: tuple[float, float]
    tilt: float
    skin: float
    wall: float
    ribs: tuple[float, float]
    bridge: tuple[float, float, float]
    diaphragm: tuple[float, float, float, float, float]
    crus: float
    liver_edge: tuple[float, float]
    stomach: tuple[float, float, float, float]
    stuff: Stuff
    spleen: float
    organ: tuple[float, float, float, float]
    spine: tuple[float, float, float]
    aorta: tuple[float, float, float]
    cava: tuple[float, float, float]
    arms: float | None
    warp: float
    lobes: tuple[float, float]
    vessels: float
    blobs: float
    blob_tones: NDArray[np.float32]


@dataclass(frozen=True)
class Grain:
    """Smooth noise [Z, rows, columns] of SD 1, named by how it varies: over about 4, 10, 28 mm; and two of 40 mm that
    bend what is straight."""

    fine: Image
    middle: Image
    coarse: Image
    bend_x: Image
    bend_y: Image


def grain(r: np.random.Generator, shape: tuple[int, int, int], pixel: float, pitch: float) -> Grain:
    def over(mm: float) -> Image:
        return smooth(r, shape, (max(mm / pitch, 1.0), mm / pixel, mm / pixel))

    return Grain(over(uniform(r, 3, 5)), over(uniform(r, 7, 14)), over(28), over(40), over(40))


def body(r: np.random.Generator, heart: float) -> Body:
    """heart: the epicardium's radius in mm."""
    spine = (normal(r, 45, 25), normal(r, 120, 16, 85), uniform(r, 15, 24))
    return Body(
        middle=(normal(r, 12, 20), normal(r, 72, 14)), half=(uniform(r, 130, 205), uniform(r, 120, 165)),
        tilt=normal(r, -0.12, 0.15), skin=min(60.0, 4 + float(r.gamma(1.6, 8))), wall=uniform(r, 6, 26),
        ribs=(uniform(r, 0.08, 0.2), uniform(r, 0, 2 * np.pi)),
        bridge=(normal(r, 4.0, 0.3), uniform(r, 8, 45), uniform(r, -0.3, 0.7)),
        diaphragm=(heart + normal(r, 1, 6, -9) if chance(r, 0.85) else heart + uniform(r, 40, 90), normal(r, 0.05, 0.2),
                   uniform(r, 0.0003, 0.003), uniform(r, -60, 25), normal(r, 0.15, 0.2)),
        crus=uniform(r, 0, 5), liver_edge=(normal(r, 10, 35), normal(r, 0.1, 0.3)),
        stomach=(uniform(r, 20, 80), uniform(r, 15, 50), uniform(r, 18, 48), uniform(r, 14, 34)),
        stuff=one_of(r, {"gas": 0.4, "fluid": 0.2, "food": 0.4}), spleen=uniform(r, 60, 140),
        organ=(normal(r, 20, 60), uniform(r, 60, 130), uniform(r, 14, 32), uniform(r, 14, 28)), spine=spine,
        aorta=(spine[0] + normal(r, 24, 6), spine[1] - normal(r, 22, 8), uniform(r, 8, 15)),
        cava=(normal(r, -35, 12), heart + normal(r, 30, 10, 6), uniform(r, 8, 15)),
        arms=uniform(r, 38, 60) if chance(r, 0.25) else None, warp=uniform(r, 2, 9),
        lobes=(normal(r, 0, 1), normal(r, 0, 1)), vessels=uniform(r, 0.9, 1.9),
        blobs=0.0 if chance(r, 0.87) else uniform(r, 0.5, 1.0), blob_tones=r.uniform(0, 1.2, 24).astype(np.float32))


def background(of: Body, tones: Contrast, x: Image, y: Image, z: float, noise: tuple[Image, ...],
               pixel: float) -> Image:
    """Signal [rows, columns] at body coordinates x, y of a slice at z. noise: the slice of each of Grain's fields."""
    fine, middle, coarse, bend_x, bend_y = noise
    x, y = x + of.warp * bend_x, y + of.warp * bend_y
    scene = tones.lung * (1 + 0.25 * middle)
    _over(scene, tones.lung_vessel, (fine - of.vessels - 0.9) * 3, pixel)
    cos, sin = np.float32(np.cos(of.bridge[0])), np.float32(np.sin(of.bridge[0]))
    lean, aside = x * cos + y * sin, np.abs(y * cos - x * sin)
    pad = tones.outer_fat * (1 + 0.1 * fine) - (tones.outer_fat - tones.muscle) * np.clip(middle - 0.8, 0, 1)
    _over(scene, pad, np.minimum(of.bridge[1] + of.bridge[2] * (lean - 60) + 7 * coarse - aside, lean - 5), pixel)
    low, slope, curve, top, rise = of.diaphragm
    dome = y - (low - rise * z + slope * x + curve * (x - top) ** 2) - 2.5 * coarse
    _over(scene, _abdomen(of, tones, x, y, dome, noise, pixel), dome, pixel, tones.ink)
    if of.crus > 0.5:
        _over(scene, tones.muscle, of.crus / 2 - np.abs(dome), pixel)
    across, down, size = of.spine
    back = np.hypot(x - across, y - down)
    _over(scene, tones.muscle * (1 + 0.2 * middle), 1.9 * size - np.hypot((x - across) * 0.8, y - down - size), pixel)
    _over(scene, tones.marrow * (1 + 0.15 * fine), size - back, pixel, 0.7)
    _over(scene, tones.cord, 0.42 * size - np.hypot(x - across - 0.4 * size, y - down - 1.4 * size), pixel, 0.5)
    for at_x, at_y, radius in (of.aorta, of.cava):
        _over(scene, tones.vessel * (1 + 0.08 * coarse), radius - np.hypot(x - at_x, y - at_y), pixel, 0.6)
    scene = _chest(of, tones, scene, x, y, z, fine, middle, pixel)
    return _nonsense(of, scene, noise) if of.blobs else scene


def _abdomen(of: Body, tones: Contrast, x: Image, y: Image, depth: Image, noise: tuple[Image, ...],
             pixel: float) -> Image:
    fine, middle, coarse, _, _ = noise
    scene = tones.outer_fat * 0.9 * (1 + 0.1 * middle)
    _over(scene, tones.bowel * (1 + 0.15 * (fine + middle)), 6 * np.abs(coarse) - 3 + 4 * of.lobes[0], pixel, 0.6)
    _over(scene, tones.spleen * (1 + 0.06 * fine), x - of.spleen + 8 * middle, pixel, 0.5)
    at_x, at_y, wide, high = of.organ
    kidney = _ellipse(x - at_x, y - of.diaphragm[0] - at_y, wide, high)
    _over(scene, tones.spleen * 1.2 + 0.3 * tones.cord * np.clip(coarse, 0, 1), kidney, pixel, 0.6)
    at_x, at_y, wide, high = of.stomach
    inside = _ellipse(x - at_x, y - of.diaphragm[0] - at_y, wide, high) + 3 * coarse
    _over(scene, tones.muscle, inside + 3.5, pixel, 0.5)
    lumps = np.float32(0.2 * (of.stuff == "food")) * (fine + middle)
    _over(scene, (tones.air + 0.02 if of.stuff == "gas" else tones.stomach) * (1 + lumps), inside, pixel)
    liver = tones.liver * (1 + 0.05 * middle + 0.04 * fine)
    _over(liver, tones.liver_vessel, (middle - of.vessels + 0.2 * fine) * 4, pixel)
    edge = of.liver_edge[0] + of.liver_edge[1] * depth - x + 5 * coarse
    _over(scene, liver, np.minimum(edge, 100 + 30 * of.lobes[1] - depth), pixel, 0.5)
    return scene


def _chest(of: Body, tones: Contrast, scene: Image, x: Image, y: Image, z: float, fine: Image, middle: Image,
           pixel: float) -> Image:
    """Chest wall, skin, what is outside, and arms."""
    cos, sin = np.float32(np.cos(of.tilt)), np.float32(np.sin(of.tilt))
    u, v = x - of.middle[0], y - of.middle[1]
    u, v = cos * u + sin * v, cos * v - sin * u
    depth = _ellipse(u, v, *of.half)
    ribs = 0.5 + 0.5 * np.sin(of.ribs[0] * (u - v) + (of.ribs[1] + 0.08 * z))
    flesh = tones.muscle * (1 + 0.2 * middle) + (tones.marrow - tones.muscle) * np.clip(3 * ribs - 1.8, 0, 1)
    _over(scene, flesh + (tones.outer_fat - flesh) * np.clip(middle - 0.6, 0, 1), of.skin + of.wall - depth, pixel, 0.5)
    _over(scene, tones.skin * (1 + 0.06 * fine), of.skin - depth + 2 * middle, pixel, 0.5)
    _over(scene, tones.air, -depth, pixel)
    if of.arms is not None:
        for side in (-1, 1):
            limb = of.arms - np.hypot(u - side * (of.half[0] + of.arms + 5), v - 20)
            _over(scene, tones.skin, limb, pixel)
            _over(scene, tones.muscle * (1 + 0.15 * fine), limb - 0.3 * of.skin - 3, pixel)
    return scene


def _nonsense(of: Body, scene: Image, noise: tuple[Image, ...]) -> Image:
    """Patches of random signal in the place of a body."""
    _, middle, coarse, bend_x, bend_y = noise
    steps = (np.floor(field + np.float32(40)).astype(np.intp) for field in (coarse, bend_x, bend_y))
    kinds = sum(step * k for step, k in zip(steps, (5, 3, 1), strict=True)) % len(of.blob_tones)
    patches = of.blob_tones[kinds] * (1 + 0.1 * middle)
    return np.asarray(scene + np.float32(of.blobs) * (patches - scene))


def _ellipse(x: Image, y: Image, wide: float, high: float) -> Image:
    """About how deep inside an ellipse, in mm."""
    return np.asarray((1 - np.hypot(x / np.float32(wide), y / np.float32(high))) * np.float32(min(wide, high)))


def _over(scene: Floats, signal: Floats | float, depth: Floats, pixel: float, ink: float = 0.0) -> None:
    """Paint `signal` where depth (mm) is positive, in place, with an edge a pixel wide; ink: how dark the edge is, as
    where fat and water share a voxel."""
    share = np.clip(np.float32(0.5) + depth / np.float32(pixel), 0, 1)
    scene += (signal - scene) * share
    if ink:
        scene *= 1 - np.float32(2.8 * ink) * share * (1 - share)
