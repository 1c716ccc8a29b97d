"""One generated heart: image, mask, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvray.cmr.generated import anatomy, curves, paint, scanner, surroundings
from lvray.cmr.generated.anatomy import Kind
from lvray.cmr.generated.contrast import Contrast, contrast
from lvray.cmr.generated.curves import Outlines
from lvray.cmr.generated.draws import ANGLES, Image, smooth
from lvray.cmr.generated.paint import Heart
from lvray.cmr.generated.stack import Stack, stack
from lvray.cmr.mass import CAVITY, DENSITY_G_PER_ML, MYOCARDIUM
from lvray.cmr.phantom.people import rng


@dataclass(frozen=True)
class Sample:
    """image: int16 [Z, Y, X] at end diastole, base to apex, in the canonical orientation; mask: uint8, papillary
    muscles and trabeculae in the cavity; spacing: (dz, dy, dx) mm; affine: to patient LPS mm; heart_yx: about the
    heart's centre in pixels, as a finder would say; curves_g: LV mass from the outlines, without pixels."""

    image: NDArray[np.int16]
    mask: NDArray[np.uint8]
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    heart_yx: tuple[float, float]
    kind: Kind
    curves_g: float


def sample(seed: int, number: int) -> Sample:
    """Heart `number` (from 0) of the series `seed`."""
    left = anatomy.ventricle(rng(seed, number, "ventricle"))
    r = rng(seed, number, "right")
    heart = paint.look(r, left, anatomy.right(r, left), anatomy.wrapping(r))
    lies = stack(rng(seed, number, "stack"), left)
    seen = curves.outlines(left, lies.planes)
    image = _image(heart, lies, contrast(rng(seed, number, "contrast")), seed, number)
    found = rng(seed, number, "finder").normal(0, 5, 2)
    at = lies.pixel_of(heart.middle * 0.3 + found, len(lies.z) // 2)
    grams = DENSITY_G_PER_ML * float((seen.epi**2 - seen.endo**2).sum()) * np.pi / ANGLES * lies.pitch / 1000
    return Sample(image=image, mask=mask(heart, lies, seen), spacing=lies.spacing, affine=lies.affine,
                  heart_yx=(float(np.clip(at[0], 0, lies.rows - 1)), float(np.clip(at[1], 0, lies.columns - 1))),
                  kind=left.kind, curves_g=grams)


def mask(heart: Heart, lies: Stack, seen: Outlines) -> NDArray[np.uint8]:
    """By pixel centres [Z, rows, columns]."""
    out = np.zeros((len(lies.z), lies.rows, lies.columns), np.uint8)
    for k in np.flatnonzero(seen.epi.any(1)):
        window, x, y = _window(heart, lies, int(k), *_points(lies, int(k)))
        grid = paint.polar(x, y, seen.middle[k], lies.pixel)
        endo, epi = (grid.depth(curve[k:k + 1])[0] > 0 for curve in (seen.endo, seen.epi))
        out[k][window] = np.where(endo, CAVITY, np.where(epi, MYOCARDIUM, 0))
    return out


def _image(heart: Heart, lies: Stack, tones: Contrast, seed: int, number: int) -> NDArray[np.int16]:
    shape = (len(lies.z), lies.rows, lies.columns)
    r = rng(seed, number, "body")
    around = surroundings.body(r, heart.left.radius + heart.left.wall)
    grain = surroundings.grain(r, shape, lies.pixel, lies.pitch)
    fields = (grain.fine, grain.middle, grain.coarse, grain.bend_x, grain.bend_y)
    r = rng(seed, number, "scanner")
    machine = scanner.scanner(r)
    uneven, offres = (smooth(r, shape, (mm / lies.pitch, mm / lies.pixel, mm / lies.pixel)) for mm in (90, 110))
    scene = np.empty(shape, np.float32)
    for k, z in enumerate(lies.z):
        x, y = _points(lies, k)
        noise = tuple(field[k] for field in fields)
        middle = float(z - heart.left.length / 2)
        whole = surroundings.background(around, tones, x, y, middle, noise, lies.pixel)
        window, in_x, in_y = _window(heart, lies, k, x, y)
        whole[window] = paint.paint(heart, tones, whole[window], in_x, in_y, lies.planes[k], lies.pixel,
                                    tuple(field[window] for field in noise))
        if lies.smear[k]:
            whole = scanner.smeared(whole, float(lies.smear[k]), lies.pixel)
        scene[k] = scanner.lit(machine, whole, x, y, middle, uneven[k], offres[k])
    return scanner.received(machine, scene, r)


def _points(lies: Stack, index: int) -> tuple[Image, Image]:
    x, y = lies.points(index)
    return x.astype(np.float32), y.astype(np.float32)


def _window(heart: Heart, lies: Stack, index: int, x: Image, y: Image) -> tuple[tuple[slice, slice], Image, Image]:
    """The part of a slice, at body coordinates x, y, that the heart can reach, and its heart coordinates."""
    at, half = lies.pixel_of(heart.middle, index), heart.reach / lies.pixel
    window = tuple(slice(max(0, int(c - half)), min(n, int(c + half) + 1))
                   for c, n in zip(at, (lies.rows, lies.columns), strict=True))
    x, y = x[window[0], window[1]], y[window[0], window[1]]
    cos, sin = np.float32(np.cos(heart.roll)), np.float32(np.sin(heart.roll))
    return (window[0], window[1]), cos * x + sin * y, cos * y - sin * x
