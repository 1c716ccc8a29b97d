"""The plots of an evaluation: scatter, distributions, Bland and Altman's, forest, coverage of intervals.

Each is a matplotlib figure; figures.png and figures.svg turn it into bytes. Same input, same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from lvray.evidence.agreement import Agreement
from lvray.evidence.evaluation import Row
from lvray.evidence.figures import BLUE, GREY, INK, ORANGE, plain

BIN_G = 10.0
PANEL_INCHES = 3.1


@dataclass(frozen=True)
class Bar:
    """A value with its interval, in a line of a forest plot. None: not estimable."""

    label: str
    n: int
    value: float | None
    low: float | None
    high: float | None


def scatter(rows: Sequence[Row]) -> Figure:
    """Estimate against manual LV mass, a panel a row, all on the same axes, with the line of identity."""
    across = min(3, max(1, len(rows)))
    down = max(1, math.ceil(len(rows) / across))
    figure = Figure(figsize=(3.1 * across, 3.45 * down), dpi=110, facecolor="white",
                    layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.12))
    grams = [g for row in rows for pair in row.pairs for g in pair] or [0.0, 200.0]
    pad = 0.06 * (max(grams) - min(grams)) + 5
    limits = (min(grams) - pad, max(grams) + pad)
    for k, row in enumerate(rows):
        axes = figure.add_subplot(down, across, k + 1)
        axes.plot(limits, limits, color=GREY, linewidth=1, linestyle="dashed", zorder=1)
        if row.pairs:
            manual, estimate = zip(*row.pairs, strict=True)
            few = len(row.pairs) < 100
            axes.scatter(manual, estimate, s=34 if few else 10, c=BLUE, alpha=0.85 if few else 0.4,
                         edgecolors="white", linewidths=0.6 if few else 0, zorder=2)
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        axes.set_title(row.label, fontsize=11, color=INK, fontweight="bold", loc="left", pad=20)
        axes.text(0, 1.025, _figures_of(row), transform=axes.transAxes, fontsize=9, color=INK)
        axes.set_xlabel("manual LV mass (g)", fontsize=9, color=INK)
        if k % across == 0:
            axes.set_ylabel("estimate (g)", fontsize=9, color=INK)
        plain(axes)
    return figure


def distributions(grams: Mapping[str, Sequence[float]], manual: str) -> Figure:
    """How LV mass is distributed by each method: histograms below each other on one axis of grams.

    grams: by method, the manual labels' (`manual`) among them: their outline stands behind every other one.
    """
    everything = [g for column in grams.values() for g in column] or [0.0, 200.0]
    low, high = BIN_G * math.floor(min(everything) / BIN_G), BIN_G * (math.floor(max(everything) / BIN_G) + 1)
    bins = np.arange(low, high + BIN_G / 2, BIN_G)
    figure = Figure(figsize=(6.4, 0.5 + 1.15 * len(grams)), dpi=110, facecolor="white", layout="constrained")
    panels = figure.subplots(len(grams), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (name, column) in zip(panels, grams.items(), strict=True):
        if name != manual:
            axes.stairs(_shares(grams[manual], bins), bins, color=GREY, linewidth=1, linestyle="dashed")
        axes.stairs(_shares(column, bins), bins, fill=True, color=GREY if name == manual else BLUE, alpha=0.75)
        if column:
            axes.axvline(float(np.mean(column)), color=ORANGE, linewidth=1.6)
        said = f"mean {np.mean(column):.1f}, SD {np.std(column, ddof=1):.1f} g" if len(column) > 1 else ""
        axes.set_title(f"{name}   n {len(column)}   {said}", fontsize=9, color=INK, loc="left", pad=3)
        axes.set_yticks([])
        plain(axes)
        axes.spines["left"].set_visible(False)
    panels[-1].set_xlabel("LV mass (g)", fontsize=9, color=INK)
    return figure


def bland_altman(rows: Sequence[Row]) -> Figure:
    """Difference against mean, a panel a row, all on the same axes; bias and limits of agreement as lines.

    Source: Bland and Altman, Lancet 1986.
    """
    across = min(3, max(1, len(rows)))
    down = max(1, math.ceil(len(rows) / across))
    figure = Figure(figsize=(PANEL_INCHES * across, 2.9 * down), dpi=110, facecolor="white", layout="constrained")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, row in zip(panels, rows, strict=False):
        pairs = np.array(row.pairs).reshape(-1, 2)
        few = len(pairs) < 100
        axes.scatter(pairs.mean(1), pairs[:, 1] - pairs[:, 0], s=24 if few else 8, c=BLUE, alpha=0.85 if few else 0.35,
                     edgecolors="none")
        _limits(axes, row.agreement)
        axes.set_title(row.label, fontsize=11, color=INK, fontweight="bold", loc="left")
        axes.set_xlabel("mean of estimate and manual (g)", fontsize=9, color=INK)
        plain(axes)
    for axes in panels[::across]:
        axes.set_ylabel("estimate − manual (g)", fontsize=9, color=INK)
    for axes in panels[len(rows):]:
        axes.set_axis_off()
    return figure


def forest(bars: Mapping[str, Sequence[Bar]], title: str, axis: str, reference: float | None = None,
           band: tuple[float, float] | None = None) -> Figure:
    """Values with intervals, a line each, under the headings of their groups.

    reference: where a dotted line stands; band: (low, high) that is shaded. What is not estimable has a line of text.
    """
    lines = sum(len(group) + 1 for group in bars.values())
    figure = Figure(figsize=(7.0, 0.9 + 0.26 * lines), dpi=110, facecolor="white", layout="constrained")
    axes = figure.subplots()
    at, ticks, labels = 0, [], []
    for heading, group in bars.items():
        ticks.append(at)
        labels.append(heading)
        for k, bar in enumerate(group, 1):
            ticks.append(at + k)
            labels.append(f"{bar.label}   n {bar.n}")
            _bar(axes, bar, at + k)
        at += len(group) + 1
    if band is not None:
        axes.axvspan(*band, color=GREY, alpha=0.15, linewidth=0)
    if reference is not None:
        axes.axvline(reference, color=GREY, linewidth=1, linestyle="dashed")
    axes.set_yticks(ticks, labels)
    for text, label in zip(axes.get_yticklabels(), labels, strict=True):
        text.set_fontweight("bold" if label in bars else "normal")
    axes.set_ylim(at - 0.4, -0.6)
    axes.set_xlabel(axis, fontsize=9, color=INK)
    axes.set_title(title, fontsize=11, color=INK, fontweight="bold", loc="left")
    plain(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def _bar(axes: Axes, bar: Bar, y: float) -> None:
    if bar.value is None:
        axes.text(0.01, y, "not estimable", transform=axes.get_yaxis_transform(), fontsize=7, color=GREY, va="center")
        return
    if bar.low is not None and bar.high is not None:
        axes.plot([bar.low, bar.high], [y, y], color=BLUE, linewidth=1.6, solid_capstyle="butt")
    axes.plot(bar.value, y, "s", color=BLUE, markersize=5)


def _limits(axes: Axes, a: Agreement) -> None:
    axes.axhline(0, color=GREY, linewidth=0.8, linestyle="dotted")
    for value, style in ((a.bias_g, "solid"), (a.loa_low, "dashed"), (a.loa_high, "dashed")):
        if value is not None:
            axes.axhline(value, color=ORANGE, linewidth=1.4, linestyle=style)
            axes.text(1, value, f"{value:+.1f}", transform=axes.get_yaxis_transform(), fontsize=8, color=INK,
                      ha="right", va="bottom")


def _shares(column: Sequence[float], bins: np.ndarray) -> np.ndarray:
    counts, _ = np.histogram(column, bins)
    return counts / max(len(column), 1)


def _figures_of(row: Row) -> str:
    a = row.agreement
    r = "r –" if a.r is None else f"r {a.r:.2f}"
    mae = "MAE –" if a.mae_g is None else f"MAE {a.mae_g:.1f} g"
    return f"{r}   {mae}   n {a.n}"
