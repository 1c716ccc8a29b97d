"""The pictures, as PNG bytes: outlines on a study, one study by three methods, all its slices, a contact sheet.

Deterministic: same input, same bytes. Colours are Okabe and Ito's, which people of every colour vision tell apart.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

ORANGE, SKY, BLUE, GREY = "#E69F00", "#56B4E9", "#0072B2", "#6B7280"
INK = "#1F2937"
MARGIN_MM = 22.0
"""Room kept around the heart in an overlay."""
Pixels = NDArray[np.float32] | NDArray[np.int16]
Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Study:
    """What a picture shows of a study.

    image [Z, Y, X], base to apex; spacing (dz, dy, dx) in mm; mask and other uint8 [Z, Y, X] (0 background, 1 cavity,
    2 myocardium), drawn as solid and as dashed outlines. label: a keyed hash or another name that identifies nobody.
    """

    label: str
    image: Pixels
    spacing: tuple[float, float, float]
    mask: Mask | None = None
    other: Mask | None = None


def overlay(study: Study, mask_name: str = "estimate", other_name: str = "reference") -> bytes:
    """Outlines on a basal, a middle and an apical slice, cropped to the heart, with a 20 mm bar. PNG.

    ValueError where a mask's shape is not the image's.
    """
    for mask in _masks(study):
        if mask.shape != study.image.shape:
            raise ValueError(f"mask {mask.shape} does not fit image {study.image.shape}")
    slices = three_slices(study)
    rows, columns = _heart_window(study)
    crop = study.image[:, rows, columns]
    low, high = np.percentile(crop, (1, 99.5))
    _, dy, dx = study.spacing
    panel = 2.6
    height = panel * (crop.shape[1] * dy) / (crop.shape[2] * dx)
    figure = Figure(figsize=(3 * panel, height + 0.62), dpi=110, facecolor="black")
    bottom = 0.3 / (height + 0.62)
    for k, (z, name) in enumerate(zip(slices, ("base", "middle", "apex"), strict=True)):
        axes = figure.add_axes((k / 3 + 0.004, bottom, 1 / 3 - 0.008, height / (height + 0.62)))
        axes.imshow(crop[z], cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=dy / dx,
                    interpolation="bilinear")
        if study.mask is not None:
            _outlines(axes, study.mask[z, rows, columns], ORANGE, "solid")
        if study.other is not None:
            _outlines(axes, study.other[z, rows, columns], SKY, "dashed")
        axes.set_title(f"{name} · slice {z + 1} of {len(study.image)}", color="white", fontsize=9, pad=5)
        axes.set_axis_off()
        if k == 0:
            _scale_bar(axes, crop.shape[1], crop.shape[2], dx)
    _legend(figure, study, mask_name, other_name)
    return png(figure)


def overview(study: Study, titles: Sequence[str]) -> bytes:
    """The middle slice three times: the image alone, which is all that a regressor sees, with the mask (orange) and
    with the other one (blue); a title above each. PNG."""
    rows, columns = _heart_window(study)
    z = three_slices(study)[1]
    crop = study.image[z, rows, columns]
    low, high = np.percentile(crop, (1, 99.5))
    figure = Figure(figsize=(9.0, 3.3), dpi=110, facecolor="black", layout="constrained")
    for k, (mask, colour, title) in enumerate(zip((None, study.mask, study.other), (INK, ORANGE, SKY), titles,
                                                  strict=True)):
        axes = figure.add_subplot(1, 3, k + 1)
        axes.imshow(crop, cmap="gray", vmin=low, vmax=max(high, low + 1e-6),
                    aspect=study.spacing[1] / study.spacing[2], interpolation="bilinear")
        if mask is not None:
            _outlines(axes, mask[z, rows, columns], colour, "solid")
        axes.set_title(title, color="white", fontsize=10, pad=5)
        axes.set_axis_off()
    return png(figure)


def contact_sheet(studies: Sequence[Study], across: int = 6) -> bytes:
    """The middle slice of each study with its outlines, `across` to a line. PNG. ValueError without a study."""
    if not studies:
        raise ValueError("no study to show")
    across = min(across, len(studies))
    down = math.ceil(len(studies) / across)
    figure = Figure(figsize=(1.7 * across, 1.9 * down), dpi=100, facecolor="black", layout="constrained")
    for k, study in enumerate(studies):
        axes = figure.add_subplot(down, across, k + 1)
        z = three_slices(study)[1]
        low, high = np.percentile(study.image[z], (1, 99.5))
        axes.imshow(study.image[z], cmap="gray", vmin=low, vmax=max(high, low + 1e-6),
                    aspect=study.spacing[1] / study.spacing[2], interpolation="bilinear")
        if study.mask is not None:
            _outlines(axes, study.mask[z], ORANGE, "solid", 0.9)
        if study.other is not None:
            _outlines(axes, study.other[z], SKY, "dashed", 0.9)
        axes.set_title(study.label, color="white", fontsize=7, pad=2)
        axes.set_axis_off()
    return png(figure)


def slices(study: Study, caption: Sequence[str] = (), across: int = 6) -> bytes:
    """Every slice of a study, base to apex, cropped to the heart, with its outlines; the caption's lines below. PNG."""
    rows, columns = _heart_window(study)
    crop = study.image[:, rows, columns]
    low, high = np.percentile(crop, (1, 99.5))
    across = min(across, len(crop))
    down = math.ceil(len(crop) / across)
    lines = [line for text in caption for line in textwrap.wrap(text, 15 * across)]
    panels, text_inches = 1.9 * down, 0.17 * len(lines) + 0.1
    figure = Figure(figsize=(1.7 * across, panels + text_inches), dpi=100, facecolor="black")
    bottom = text_inches / (panels + text_inches)
    grid = figure.add_gridspec(down, across, left=0.01, right=0.99, bottom=bottom, top=0.95, wspace=0.05, hspace=0.15)
    for z, image in enumerate(crop):
        axes = figure.add_subplot(grid[z // across, z % across])
        axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6),
                    aspect=study.spacing[1] / study.spacing[2], interpolation="bilinear")
        if study.mask is not None:
            _outlines(axes, study.mask[z, rows, columns], ORANGE, "solid", 0.9)
        axes.set_title(f"slice {z + 1}", color="white", fontsize=7, pad=2)
        axes.set_axis_off()
    figure.text(0.01, 0.6 * bottom / max(len(lines), 1), "\n".join(lines), color="white", fontsize=8, va="bottom",
                parse_math=False)
    return png(figure)


def _masks(study: Study) -> Iterator[Mask]:
    yield from (mask for mask in (study.mask, study.other) if mask is not None)


def three_slices(study: Study) -> tuple[int, int, int]:
    """A basal, a middle and an apical slice among those with a mask, or of the whole stack."""
    drawn = np.zeros(len(study.image), dtype=bool)
    for mask in _masks(study):
        drawn |= mask.any(axis=(1, 2))
    candidates = np.flatnonzero(drawn) if drawn.any() else np.arange(len(study.image))
    last = len(candidates) - 1
    base, middle, apex = (int(candidates[round(share * last)]) for share in (0.15, 0.5, 0.85))
    return base, middle, apex


def _heart_window(study: Study) -> tuple[slice, slice]:
    """Rows and columns of the masks with a margin; the whole image where there is no mask."""
    drawn = np.zeros(study.image.shape[1:], dtype=bool)
    for mask in _masks(study):
        drawn |= mask.any(axis=0)
    if not drawn.any():
        return slice(None), slice(None)
    windows = []
    for axis, pitch in ((1, study.spacing[1]), (0, study.spacing[2])):
        inside = np.flatnonzero(drawn.any(axis=axis))
        margin = round(MARGIN_MM / pitch)
        windows.append(slice(max(0, int(inside[0]) - margin), int(inside[-1]) + margin + 1))
    return windows[0], windows[1]


def _outlines(axes: Axes, mask: Mask, colour: str, style: str, width: float = 1.4) -> None:
    """Epicardium (the whole heart's edge) and endocardium (the cavity's)."""
    for region in (mask > 0, mask == 1):
        if region.any() and not region.all():
            axes.contour(region.astype(np.float32), levels=[0.5], colors=[colour], linewidths=width, linestyles=style)


def _scale_bar(axes: Axes, height: int, width: int, dx: float) -> None:
    x, y = 0.06 * width, 0.94 * height
    axes.plot([x, x + 20 / dx], [y, y], color="white", linewidth=2, solid_capstyle="butt")
    axes.text(x + 10 / dx, y - 0.025 * height, "20 mm", color="white", fontsize=7, ha="center", va="bottom")


def _legend(figure: Figure, study: Study, mask_name: str, other_name: str) -> None:
    lines = [Line2D([], [], color=ORANGE, label=mask_name)] if study.mask is not None else []
    if study.other is not None:
        lines.append(Line2D([], [], color=SKY, linestyle="dashed", label=other_name))
    if lines:
        figure.legend(handles=lines, loc="lower left", ncols=2, frameon=False, labelcolor="linecolor", fontsize=9,
                      borderaxespad=0.2, columnspacing=2.5)


def plain(axes: Axes) -> None:
    """Axes without a frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=8, colors=INK)


def png(figure: Figure) -> bytes:
    """The same figure, the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure) -> bytes:
    """The same figure, the same bytes; text as outlines, so that it looks the same everywhere."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "lvray"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
