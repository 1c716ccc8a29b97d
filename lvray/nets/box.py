"""The box that a network sees: a study padded or cropped to a fixed size, in its own pixels or in others, its
intensities normalised; and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lvray.nets.resample import Points, resample, resample_labels, resample_shares

PERCENTILES = (1.0, 99.5)
ROUNDING = 1e-5
"""Of the greatest intensity: an SD below it is none. Of float32 and a resampled constant."""

Shape = tuple[int, int, int]
Inside = npt.NDArray[np.bool_]
Line = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Pixels of a box that are not the image's own. step: by how many of the image's rows and columns they lie apart;
    tilt: by so many radians the box is turned in its plane, from columns toward rows, as it is in millimetres."""

    step: tuple[float, float]
    tilt: float = 0.0


@dataclass(frozen=True)
class Placement:
    """Where a box lies: the row and column of its middle, in the image's index; both sizes; and its grid, None for the
    image's own pixels, to the nearest of which the middle is rounded."""

    middle: tuple[float, float]
    box: Shape
    shape: Shape
    grid: Grid | None = None

    def shared(self) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """In the image's own pixels: the part that image and box share, in the image's index and in the box's."""
        starts = (0, *(math.floor(c - (b - 1) / 2 + 0.5) for c, b in zip(self.middle, self.box[1:], strict=True)))
        axes = list(zip(starts, self.shape, self.box, strict=True))
        return (tuple(slice(max(0, start), min(n, start + b)) for start, n, b in axes),
                tuple(slice(max(0, -start), min(b, n - start)) for start, n, b in axes))

    def in_image(self, grid: Grid) -> tuple[Points, Inside]:
        """The box's pixels that lie in the image: where, in its index [2, P], and which, bool [box rows, columns]."""
        y, x = _offsets(self.box[1:], ((self.box[1] - 1) / 2, (self.box[2] - 1) / 2))
        cos, sin = math.cos(grid.tilt), math.sin(grid.tilt)
        (y_step, x_step), (y_middle, x_middle) = grid.step, self.middle
        return _within((y_middle + (y * cos + x * sin) * y_step, x_middle + (x * cos - y * sin) * x_step),
                       self.shape[1:])

    def in_box(self, grid: Grid) -> tuple[Points, Inside]:
        """The image's pixels that lie in the box: where, in its index [2, P], and which, bool [Y, X]."""
        y, x = (line / step for line, step in zip(_offsets(self.shape[1:], self.middle), grid.step, strict=True))
        cos, sin = math.cos(grid.tilt), math.sin(grid.tilt)
        return _within((y * cos - x * sin + (self.box[1] - 1) / 2, y * sin + x * cos + (self.box[2] - 1) / 2),
                       self.box[1:])


def place(shape: tuple[int, ...], centre_yx: tuple[float, float] | None, box: Shape,
          grid: Grid | None = None) -> Placement:
    """Where the box of an image [Z, Y, X] of that shape lies: around the centre (index of row and column; None: the
    middle of the image), from the first slice on. ValueError: more slices than the box has, or a centre outside."""
    slices, rows, columns = shape
    if slices > box[0]:
        raise ValueError(f"{slices} slices do not fit a box of {box[0]}")
    middle = ((rows - 1) / 2, (columns - 1) / 2) if centre_yx is None else centre_yx
    if not all(0 <= c <= n - 1 for c, n in zip(middle, (rows, columns), strict=True)):
        raise ValueError(f"centre {middle} lies outside an image of {(rows, columns)} rows and columns")
    return Placement(middle, box, (slices, rows, columns), grid)


def take(image: npt.NDArray[np.generic], centre_yx: tuple[float, float] | None, box: Shape, grid: Grid | None = None,
         out: npt.NDArray[np.float32] | None = None) -> tuple[npt.NDArray[np.float32], Placement]:
    """The box of a study: image [Z, Y, X] -> float32 [box], normalised, and its placement. out: zeros to write it into.

    Rows and columns are padded or cropped around the centre, as `place` says. Slices are padded behind the last, so
    that slice k of a box is the k-th from the base in every study.
    The part inside the image is clipped to its percentiles 1 and 99.5 and brought to zero mean and unit SD (all 0 where
    the image is constant there); padding is 0. ValueError: see `place`.
    """
    placement = place(image.shape, centre_yx, box, grid)
    out = np.zeros(box, np.float32) if out is None else out
    if grid is None:
        inside, there = placement.shared()
        out[there] = _normalised(image[inside])
    else:
        at, seen = placement.in_image(grid)
        out[:len(image), seen] = _normalised(resample(image, at, grid.step))
    return out, placement


def take_mask(mask: npt.NDArray[np.uint8], placement: Placement,
              out: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8]:
    """The same box of the study's mask: uint8 [Z, Y, X] -> uint8 [box], padding 0 (background). out: as in `take`."""
    if _shape(mask) != placement.shape:
        raise ValueError(f"a mask of {mask.shape} for an image of {placement.shape}")
    out = np.zeros(placement.box, np.uint8) if out is None else out
    if (grid := placement.grid) is None:
        inside, there = placement.shared()
        out[there] = mask[inside]
    else:
        at, seen = placement.in_image(grid)
        out[:len(mask), seen] = resample_labels(mask, at, grid.step)
    return out


def put_back(mask_box: npt.NDArray[np.uint8], placement: Placement) -> npt.NDArray[np.uint8]:
    """The mask of a box of the image's own pixels: uint8 [box] -> uint8 [Z, Y, X], background outside the box."""
    assert placement.grid is None
    if _shape(mask_box) != placement.box:
        raise ValueError(f"a mask of {mask_box.shape} for a box of {placement.box}")
    inside, there = placement.shared()
    out = np.zeros(placement.shape, np.uint8)
    out[inside] = mask_box[there]
    return out


def shares_put_back(shares: npt.NDArray[np.uint8], placement: Placement) -> npt.NDArray[np.uint8]:
    """The mask, in the image, of shares of the labels 1 to K in a box of pixels of its own: uint8 [K, box], in 255ths
    -> uint8 [Z, Y, X]. Borders lie between the box's pixels, where the shares say, not along them."""
    assert placement.grid is not None
    at, seen = placement.in_box(placement.grid)
    out = np.zeros(placement.shape, np.uint8)
    y, x = placement.grid.step
    out[:, seen] = resample_shares(shares[:, :len(out)], at, (1 / y, 1 / x))
    return out


def _offsets(size: tuple[int, ...], middle: tuple[float, float]) -> tuple[Line, Line]:
    """Of rows, as a column, and of columns."""
    y, x = (np.arange(n, dtype=np.float64) - c for n, c in zip(size, middle, strict=True))
    return y[:, None], x


def _within(at: tuple[Line, Line], size: tuple[int, ...]) -> tuple[Points, Inside]:
    """Those of the points that a picture of that size covers."""
    lines = np.broadcast_arrays(*at)
    seen: Inside = np.logical_and.reduce([(line >= -0.5) & (line <= n - 0.5)
                                          for line, n in zip(lines, size, strict=True)])
    return np.stack([line[seen] for line in lines]), seen


def _normalised(image: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    values = image.astype(np.float32)
    values = values.clip(*_percentiles(values))
    rounding = ROUNDING * np.abs(values).max()
    values -= values.mean(dtype=np.float64)
    sd = values.std(dtype=np.float64)
    return values / np.float32(sd) if sd > rounding else np.zeros_like(values)


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
