"""The box that a network sees: a study padded or cropped to a fixed size, at its own pixel size or at one for all, its
intensities normalised; and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lvray.nets.resample import resample, resample_labels, resample_shares

PERCENTILES = (1.0, 99.5)

Shape = tuple[int, int, int]
Line = tuple[float, float, int]
AS_ACQUIRED = (1.0, 1.0)


@dataclass(frozen=True)
class Placement:
    """Where a box lies: its first pixel in the image's index (row and column may be negative), and both sizes. step: by
    how many of the image's rows and columns the box's lie apart."""

    start: tuple[int, float, float]
    box: Shape
    shape: Shape
    step: tuple[float, float] = AS_ACQUIRED

    def _overlap(self) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """The part that image and box share, in the image's index and in the box's."""
        axes = list(zip(self.start, (1.0, *self.step), self.shape, self.box, strict=True))
        return (tuple(_within(start - step / 2, start + (b - 0.5) * step, n) for start, step, n, b in axes),
                tuple(_within((-0.5 - start) / step, (n - 0.5 - start) / step, b) for start, step, n, b in axes))

    def _taken(self, there: tuple[slice, ...]) -> tuple[Line, Line]:
        """The box's rows and columns, of the part that it shares, in the image's index."""
        (y, ty, ny), (x, tx, nx) = ((start + s.start * step, step, s.stop - s.start)
                                    for start, step, s in zip(self.start[1:], self.step, there[1:], strict=True))
        return (y, ty, ny), (x, tx, nx)

    def _put(self, inside: tuple[slice, ...]) -> tuple[Line, Line]:
        """The image's rows and columns, of the part that it shares, in the box's index."""
        (y, ty, ny), (x, tx, nx) = (((s.start - start) / step, 1 / step, s.stop - s.start)
                                    for start, step, s in zip(self.start[1:], self.step, inside[1:], strict=True))
        return (y, ty, ny), (x, tx, nx)


def place(shape: tuple[int, ...], centre_yx: tuple[float, float] | None, box: Shape,
          step: tuple[float, float] = AS_ACQUIRED) -> Placement:
    """Where the box of an image [Z, Y, X] of that shape lies: around the centre (index of row and column; None: the
    middle of the image), from the first slice on. step: as in Placement; with AS_ACQUIRED the box's pixels are the
    image's own. ValueError: more slices than the box has, or a centre outside."""
    slices, rows, columns = shape
    if slices > box[0]:
        raise ValueError(f"{slices} slices do not fit a box of {box[0]}")
    centre = ((rows - 1) / 2, (columns - 1) / 2) if centre_yx is None else centre_yx
    if not all(0 <= c <= n - 1 for c, n in zip(centre, (rows, columns), strict=True)):
        raise ValueError(f"centre {centre} lies outside an image of {(rows, columns)} rows and columns")
    y, x = (c - (b - 1) / 2 * s for c, b, s in zip(centre, box[1:], step, strict=True))
    if step == AS_ACQUIRED:
        y, x = math.floor(y + 0.5), math.floor(x + 0.5)
    return Placement((0, y, x), box, (slices, rows, columns), step)


def take(image: npt.NDArray[np.generic], centre_yx: tuple[float, float] | None, box: Shape,
         step: tuple[float, float] = AS_ACQUIRED,
         out: npt.NDArray[np.float32] | None = None) -> tuple[npt.NDArray[np.float32], Placement]:
    """The box of a study: image [Z, Y, X] -> float32 [box], normalised, and its placement. out: zeros to write it into.

    Rows and columns are padded or cropped around the centre, as `place` says. Slices are padded behind the last, so
    that slice k of a box is the k-th from the base in every study.
    The part inside the image is clipped to its percentiles 1 and 99.5 and brought to zero mean and unit SD (all 0 where
    the image is constant there); padding is 0. ValueError: see `place`.
    """
    placement = place(image.shape, centre_yx, box, step)
    inside, there = placement._overlap()
    out = np.zeros(box, np.float32) if out is None else out
    shared = image[inside] if step == AS_ACQUIRED else resample(image, *placement._taken(there))
    out[there] = _normalised(shared)
    return out, placement


def take_mask(mask: npt.NDArray[np.uint8], placement: Placement,
              out: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8]:
    """The same box of the study's mask: uint8 [Z, Y, X] -> uint8 [box], padding 0 (background). out: as in `take`."""
    if _shape(mask) != placement.shape:
        raise ValueError(f"a mask of {mask.shape} for an image of {placement.shape}")
    inside, there = placement._overlap()
    out = np.zeros(placement.box, np.uint8) if out is None else out
    out[there] = (mask[inside] if placement.step == AS_ACQUIRED else
                  resample_labels(mask, *placement._taken(there)))
    return out


def put_back(mask_box: npt.NDArray[np.uint8], placement: Placement) -> npt.NDArray[np.uint8]:
    """A box's mask in the image's own grid: uint8 [box] -> uint8 [Z, Y, X], background outside the box."""
    if _shape(mask_box) != placement.box:
        raise ValueError(f"a mask of {mask_box.shape} for a box of {placement.box}")
    inside, there = placement._overlap()
    out = np.zeros(placement.shape, np.uint8)
    out[inside] = (mask_box[there] if placement.step == AS_ACQUIRED else
                   resample_labels(mask_box[there[0]], *placement._put(inside)))
    return out


def shares_put_back(shares: npt.NDArray[np.uint8], placement: Placement) -> npt.NDArray[np.uint8]:
    """The mask, in the image's own grid, of shares of the labels 1 to K in a box: uint8 [K, box], in 255ths -> uint8
    [Z, Y, X]. Borders lie between the box's pixels, where the shares say, not along them."""
    inside, there = placement._overlap()
    out = np.zeros(placement.shape, np.uint8)
    out[inside] = resample_shares(shares[:, there[0]], *placement._put(inside))
    return out


def _within(low: float, high: float, n: int) -> slice:
    """Those of 0 to n - 1 between two limits."""
    return slice(max(0, math.ceil(low)), min(n, math.floor(high) + 1))


def _normalised(image: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    values = image.astype(np.float32)
    values = values.clip(*_percentiles(values))
    values -= values.mean(dtype=np.float64)
    sd = values.std(dtype=np.float64)
    return values / np.float32(sd) if sd > 0 else np.zeros_like(values)


def _percentiles(values: npt.NDArray[np.float32]) -> tuple[np.float32, np.float32]:
    """np.percentile's values, to the last bit, several times as fast: it selects each rank alone, and one sort gives
    them all."""
    ordered = np.sort(values, axis=None)
    low, high = (_between(ordered, share / 100 * (ordered.size - 1)) for share in PERCENTILES)
    return low, high


def _between(ordered: npt.NDArray[np.float32], rank: float) -> np.float32:
    """The value at a rank that is not whole, linear between its neighbours."""
    below = math.floor(rank)
    a, b = map(float, (ordered[below], ordered[min(below + 1, ordered.size - 1)]))
    return np.float32(a + (b - a) * (rank - below))


def _shape(array: npt.NDArray[np.generic]) -> Shape:
    slices, rows, columns = array.shape
    return slices, rows, columns
