"""What the scanner makes of a body: coils, bands, breathing, k-space, noise, and the picture that is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lvray.cmr.generated.draws import Image, chance, normal, one_of, smooth, uniform

Window = Literal["none", "hamming", "cosine"]


@dataclass(frozen=True)
class Scanner:
    """One study's.

    slope: log gain per mm along (x, y, z); coil: where the surface coil lies (x, y), how strong, within what mm;
    uneven: SD of the log gain over 90 mm; bands: how dark, how many radians of phase in 150 mm, how wide.
    acquired: share of k-space that is, along (y, x); window, sharpen: its taper, and the gain of its border, below 0 a
    blur; noise: SD in each channel, as a share of blood's signal; patchy_noise: how uneven, as parallel imaging
    leaves it; ghost: strength, shift as a share of the picture, axis; slice_gain: SD of the log gain by slice.
    gamma, floor, top: curve of the display, its black, and the percentile at which it clips; scale: the greatest
    integer; levels: grey levels, or None; bowed: how far the borders are cut, as a correction of the gradients does.
    """

    slope: tuple[float, float, float]
    coil: tuple[float, float, float, float]
    uneven: float
    bands: tuple[float, float, float] | None
    acquired: tuple[float, float]
    window: Window
    sharpen: float
    noise: float
    patchy_noise: float
    ghost: tuple[float, float, int] | None
    slice_gain: float
    gamma: float
    floor: float
    top: float
    scale: float
    levels: int | None
    bowed: float


def scanner(r: np.random.Generator) -> Scanner:
    strong = chance(r, 0.6)
    noise = float(np.exp(r.uniform(np.log(0.006), np.log(0.09))))
    return Scanner(
        slope=(normal(r, 0, 0.0025), normal(r, 0, 0.0025), normal(r, 0, 0.002)),
        coil=(normal(r, -50, 50), normal(r, -90, 40), uniform(r, 0.2, 1.8) if strong else uniform(r, 0, 0.3),
              uniform(r, 50, 130)),
        uneven=uniform(r, 0, 0.15) if chance(r, 0.7) else uniform(r, 0.15, 0.4),
        bands=(uniform(r, 0.3, 0.95), uniform(r, 1.5, 5), uniform(r, 0.45, 1.2)) if chance(r, 0.2) else None,
        acquired=(uniform(r, 0.45, 1), uniform(r, 0.6, 1)),
        window=one_of(r, {"none": 0.4, "hamming": 0.3, "cosine": 0.3}), sharpen=normal(r, 0, 0.35, -0.8, 1.0),
        noise=noise, patchy_noise=uniform(r, 0, 0.6),
        ghost=(uniform(r, 0.03, 0.2), uniform(r, 0.08, 0.5), int(r.integers(2))) if chance(r, 0.15) else None,
        slice_gain=uniform(r, 0, 0.06) if chance(r, 0.75) else uniform(r, 0.06, 0.3),
        gamma=float(np.exp(r.normal(0, 0.12))) if chance(r, 0.4) else 1.0,
        floor=uniform(r, 0, 0.12) if chance(r, 0.2) else 0.0,
        top=uniform(r, 97.0, 99.7) if chance(r, 0.25) else 100.0,
        scale=float(np.exp(r.uniform(np.log(120), np.log(3500)))),
        levels=int(r.choice([64, 128, 256], p=[0.1, 0.2, 0.7])) if chance(r, 0.25) else None,
        bowed=uniform(r, 0.02, 0.12) if chance(r, 0.2) else 0.0)


def lit(of: Scanner, scene: Image, x: Image, y: Image, z: float, uneven: Image, offres: Image) -> Image:
    """One slice [rows, columns] as the coils see it, in place. x, y, z: body coordinates; the others smooth noise."""
    gain = np.float32(of.slope[0]) * x + np.float32(of.slope[1]) * y + np.float32(of.slope[2] * z)
    gain += np.float32(of.uneven) * uneven
    far = ((x - of.coil[0]) ** 2 + (y - of.coil[1]) ** 2) / np.float32(2 * of.coil[3] ** 2)
    scene *= np.exp(np.clip(gain, -1.5, 1.5)) * (1 + np.float32(of.coil[2]) * np.exp(-far))
    if of.bands is not None:
        dark, across, wide = of.bands
        phase = np.float32(across) * (offres + (x + y) / 150)
        scene *= 1 - np.float32(dark) * np.exp(-((np.sin(phase / 2 + 1) / np.float32(wide)) ** 2) * 4)
    return scene


def smeared(scene: Image, shift: float, pixel: float) -> Image:
    """A slice whose heart moved by `shift` mm along the diagonal meanwhile."""
    steps = max(1, round(shift / pixel / 2))
    return np.asarray((scene + np.roll(scene, (steps, steps), (0, 1)) + np.roll(scene, (-steps, steps), (0, 1))
                       + np.roll(scene, (0, -steps), (0, 1))) / np.float32(4))


def received(of: Scanner, scene: Image, r: np.random.Generator) -> NDArray[np.int16]:
    """Images [Z, rows, columns] through k-space, with noise, to the integers of a file."""
    slices, rows, columns = scene.shape
    if of.ghost is not None:
        strength, shift, axis = of.ghost
        moved = np.roll(scene, round(shift * scene.shape[1 + axis]), 1 + axis)
        pulse = np.float32(strength) * np.exp(r.normal(0, 0.5, (slices, 1, 1))).astype(np.float32)
        scene = scene + pulse * (moved - scene.mean((1, 2), keepdims=True))
    patches = np.abs(smooth(r, (slices, rows, columns), (4, rows / 4, columns / 4)))
    sd = np.float32(of.noise) * (1 + np.float32(of.patchy_noise) * patches)
    signal = np.empty(scene.shape, np.complex64)
    signal.real = scene + sd * r.standard_normal(scene.shape, np.float32)
    signal.imag = sd * r.standard_normal(scene.shape, np.float32)
    kept = [_window(of, n, share) for n, share in ((rows, of.acquired[0]), (columns, of.acquired[1]))]
    spectrum = np.fft.fft2(signal) * (kept[0][:, None] * kept[1][None])
    return _stored(of, np.abs(np.fft.ifft2(spectrum)).astype(np.float32), r)


def _window(of: Scanner, n: int, share: float) -> NDArray[np.float32]:
    """What is kept of k-space along an axis of n, in FFT order."""
    k = np.abs(np.fft.fftfreq(n)) * 2 / share
    taper = {"none": 1.0, "hamming": 0.54 + 0.46 * np.cos(np.pi * np.minimum(k, 1)),
             "cosine": np.where(k < 0.7, 1, np.cos((np.minimum(k, 1) - 0.7) / 0.3 * np.pi / 2))}[of.window]
    return np.asarray(taper * (k <= 1) * np.maximum(1 + of.sharpen * k**2, 0.05), np.float32)


def _stored(of: Scanner, image: Image, r: np.random.Generator) -> NDArray[np.int16]:
    """Gains of the slices, curves of the display, integers."""
    slices, rows, columns = image.shape
    image *= np.exp(r.normal(0, of.slice_gain, (slices, 1, 1))).astype(np.float32)
    if of.bowed:
        v = np.linspace(-1, 1, rows, dtype=np.float32)[:, None] ** 2
        u = np.abs(np.linspace(-1, 1, columns, dtype=np.float32))[None]
        image *= u < 1 - np.float32(of.bowed) * (1 - v)
    high = image.max() if of.top == 100 else np.percentile(image[:, ::2, ::2], of.top)
    image = np.clip(image / np.float32(max(float(high), 1e-6)), 0, 1)
    if of.gamma != 1:
        image **= np.float32(of.gamma)
    image = np.float32(of.floor) + np.float32(1 - of.floor) * image
    if of.levels is not None:
        return np.asarray(np.rint(image * np.float32(of.levels - 1)), np.int16)
    return np.asarray(np.rint(image * np.float32(of.scale)), np.int16)
