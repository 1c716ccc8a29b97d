"""Studies that hold no short axis of a heart, to see whether lvray says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from lvray.cmr.phantom.participant import Participant, participant, render
from lvray.cmr.phantom.people import PhantomOptions, rng
from lvray.cmr.phantom.scan import Plane
from lvray.shards.dataset import open_dataset, select
from lvray.shards.stream import scan

SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "dicom_samples"
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Wrong:
    """images [P, Z, Y, X] over the beat, if it is one; spacing (dz, dy, dx) in mm."""

    kind: str
    images: NDArray[Any]
    spacing: Spacing


def wrong(seed: int, many: int, data: str | None) -> Iterator[Wrong]:
    """So many of each kind that can be made; of the samples what there is. data: generated hearts, to be cut along."""
    r = np.random.default_rng([seed, 10])
    for _ in range(many):
        yield Wrong("noise", noise(r, 1.0), _spacing(r))
        yield Wrong("smooth noise", noise(r, float(r.uniform(3, 12))), _spacing(r))
    yield Wrong("empty", np.zeros((1, 10, 192, 192), np.int16), _spacing(r))
    for number in range(many):
        yield Wrong("long axis, phantom", *long_axis(participant(seed, number, PhantomOptions(phases=2))))
    if data is not None:
        dataset = open_dataset(data)
        for _, row in scan(dataset, select(dataset, ["calibration"])[:many]):
            yield Wrong("long axis, generated", *reformatted(row.image, row.spacing))
    if SAMPLES.exists():
        yield from samples()


def noise(r: np.random.Generator, blur: float) -> NDArray[np.int16]:
    from scipy.ndimage import gaussian_filter

    white = r.normal(0, 1, (1, int(r.integers(6, 14)), 192, 192))
    found = gaussian_filter(white, (0, 0, blur, blur)) if blur > 1 else white
    return np.asarray(500 + 200 * found / found.std(), np.int16)


def long_axis(subject: Participant) -> tuple[NDArray[Any], Spacing]:
    """Ten planes along the long axis, 8 mm apart, at ED and ES."""
    plane, r = subject.scan.long_axis(subject.heart.length / 2), rng(subject.seed, subject.number, "wrong")
    across = np.cross(plane.down, plane.right)
    across /= np.linalg.norm(across)
    planes = [Plane(plane.origin + 8.0 * k * across, plane.down, plane.right) for k in np.arange(10) - 4.5]
    both = subject.shares[np.array([0, subject.es])]
    pictures = np.stack([render(subject, one, both, np.zeros(2), r) for one in planes], 1)
    return pictures, (8.0, subject.scan.pixel_mm, subject.scan.pixel_mm)


def reformatted(image: NDArray[Any], spacing: Spacing) -> tuple[NDArray[Any], Spacing]:
    """A stack [Z, Y, X] cut along: ten planes of (z, x), 8 mm apart, the slices drawn out to square pixels."""
    dz, dy, dx = spacing
    rows = np.clip(image.shape[1] // 2 + np.round((np.arange(10) - 4.5) * 8 / dy).astype(int), 0, image.shape[1] - 1)
    cut = image[:, rows].swapaxes(0, 1).astype(float)
    at = np.arange(int((image.shape[0] - 1) * dz / dx)) * dx / dz
    low = at.astype(int)
    part = (at - low)[:, None]
    drawn = cut[:, low] * (1 - part) + cut[:, np.minimum(low + 1, image.shape[0] - 1)] * part
    return np.asarray(drawn, np.int16)[None], (8.0, dx, dx)


def samples() -> Iterator[Wrong]:
    """Brains, EPI, localizers and others that are no short axis: the frames of a file, or a single one ten times. Files
    of the same pixels count once."""
    seen = set()
    for file in sorted(SAMPLES.rglob("*.dcm")):
        try:
            ds = pydicom.dcmread(file)
            pixels = ds.pixel_array
        except Exception:  # what cannot be decoded is refused long before a network sees it
            continue
        pixels = pixels[..., 0] if pixels.ndim > 2 and pixels.shape[-1] == 3 else pixels
        stack = pixels if pixels.ndim == 3 else np.repeat(pixels[None], 10, 0)
        if stack.astype(np.float32).tobytes() in seen:
            continue
        seen.add(stack.astype(np.float32).tobytes())
        dy, dx = map(float, ds.get("PixelSpacing", (1.5, 1.5)))
        kind = "localizer" if "localizer" in str(file) else "sample of another organ"
        yield Wrong(kind, stack[None, :13].astype(np.float32), (8.0, dy, dx))


def _spacing(r: np.random.Generator) -> Spacing:
    pixel = float(r.uniform(1.2, 1.9))
    return 8.0, pixel, pixel
