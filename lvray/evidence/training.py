"""How a training run went: its curves as PNG, its report as a page. Both are drawn from the lines of metrics.jsonl.

Three kinds of lines, dicts, as jobs/metrics.py keeps them: steps (with "step"), validations, and starts (with "begins":
the position that workers began at). Epochs and steps count from 1, positions from 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter, StrMethodFormatter

from lvray.evidence.figures import BLUE, GREY, INK, ORANGE, plain, png
from lvray.evidence.page import inline, render
from lvray.evidence.report import NOT_A_DEVICE

POINTS = (20, 200)
"""Fewest and most points of the training curve, each the mean of some STEPS_A_POINT steps or more."""
STEPS_A_POINT = 4
SLOW_SHARE = 0.05
"""Share of the time waiting for data above which the report says what to do about it."""
MARKED = 50
"""A curve of fewer validations has a mark at each."""
SHOWN = 12
"""A longer table of validations is folded."""
HEADINGS = ("epoch", "training loss", "validation loss", "learning rate", "samples/s", "waiting for data", "workers")
CAPTION = ("Loss of the training steps (the mean of a few at a time, with their middle 80 %) and of each validation;"
           " below, the learning rate, the samples a second and the share of the time spent waiting for data."
           " Dotted: the run began again there.")

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Training:
    """A run that is done. epochs: as many as the recipe allows; facts: tables of name and value by heading.

    lines: all of the run's, in their order. Nothing in here names a person or a place.
    """

    recipe: str
    epochs: int
    lines: Sequence[Line]
    facts: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Mapping[str, Any]]
    for_show: bool


def curves(lines: Sequence[Line]) -> bytes:
    """Losses over the epochs, and below them learning rate, speed and waiting at each validation. PNG."""
    figure = Figure(figsize=(8.8, 5.6), dpi=110, facecolor="white", layout="constrained")
    grid = figure.add_gridspec(2, 3, height_ratios=(2, 1))
    loss, rate, speed, waiting = (figure.add_subplot(part) for part in (grid[0, :], grid[1, 0], grid[1, 1], grid[1, 2]))
    validated = validations(lines)
    epochs = [line["epoch"] for line in validated]
    _losses(loss, lines)
    for axes, name, title, least in ((rate, "lr", "learning rate", 0), (speed, "samples_per_second", "samples/s", 0),
                                     (waiting, "waiting", "waiting for data", 2 * SLOW_SHARE)):
        values = [line[name] for line in validated]
        axes.plot(epochs, values, color=BLUE, linewidth=1.6, marker="o", markersize=3 if len(epochs) < MARKED else 0)
        axes.set_title(title, fontsize=10, color=INK, loc="left")
        axes.set_ylim(0, 1.1 * max([*values, least]) or 1)
    waiting.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for axes in (loss, rate, speed, waiting):
        axes.set_xlabel("epoch", fontsize=9, color=INK)
        axes.set_xlim(0, max(epochs, default=1) * 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        plain(axes)
    return png(figure)


def run_report(training: Training, picture: bytes) -> str:
    """The page. picture: the curves. Same run, same bytes."""
    validated = validations(training.lines)
    return render(
        "run.html", training=training, headline=_headline(training), tiles=_tiles(training), headings=HEADINGS,
        rows=[_cells(line) for line in validated], best=_best(validated), folded=len(validated) > SHOWN,
        starts=[_start(line) for line in training.lines if "begins" in line], slow=_waiting(validated) > SLOW_SHARE,
        curves=inline(picture), caption=CAPTION, notice=NOT_A_DEVICE)


def steps(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if "step" in line]


def validations(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if "epoch" in line and "step" not in line]


def _losses(axes: Axes, lines: Sequence[Line]) -> None:
    taken, validated = steps(lines), validations(lines)
    if taken:
        _steps(axes, taken)
    scored = [(line["epoch"], line["validation_loss"]) for line in validated if "validation_loss" in line]
    if scored:
        axes.plot(*zip(*scored, strict=True), color=ORANGE, linewidth=1.8, marker="o", label="validation",
                  markersize=4 if len(scored) < MARKED else 0)
        epoch, least = min(scored, key=lambda pair: pair[1])
        axes.plot(epoch, least, marker="o", markersize=11, markerfacecolor="none", markeredgecolor=INK,
                  linestyle="none", label=f"best: {least:.4g} after epoch {epoch}")
    if taken or scored:
        axes.legend(fontsize=9, frameon=False)
    if all(value > 0 for value in (*(line["loss"] for line in taken), *(score for _, score in scored))):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    per_epoch = max((line["step"] for line in taken), default=1)
    for line in lines:
        if "begins" in line and tuple(line["begins"]) != (0, 0):
            axes.axvline(line["begins"][0] + line["begins"][1] / per_epoch, color=GREY, linewidth=1, linestyle="dotted")
    axes.set_title("loss", fontsize=11, color=INK, fontweight="bold", loc="left")


def _steps(axes: Axes, taken: Sequence[Line]) -> None:
    """The loss of the steps, a point for a few of them, with the middle 80 % of these."""
    per_epoch = max(line["step"] for line in taken)
    at = np.array([line["epoch"] - 1 + line["step"] / per_epoch for line in taken])
    loss = np.array([line["loss"] for line in taken])
    fewest, most = POINTS
    bins = np.array_split(np.arange(len(taken)), max(min(fewest, len(taken)), min(most, len(taken) // STEPS_A_POINT)))
    middle = [float(at[b].mean()) for b in bins]
    low, high = ([float(np.percentile(loss[b], share)) for b in bins] for share in (10, 90))
    axes.fill_between(middle, low, high, color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(middle, [float(loss[b].mean()) for b in bins], color=BLUE, linewidth=1.6, label="training steps",
              marker="o" if len(bins) == 1 else None)


def _headline(training: Training) -> str:
    validated = validations(training.lines)
    best = _best(validated)
    if best is not None:
        line = validated[best]
        return (f"{training.recipe} reached a validation loss of {line['validation_loss']:.4g} after epoch"
                f" {line['epoch']} of {training.epochs}.")
    if validated:
        return (f"{training.recipe} came to a training loss of {validated[-1]['loss']:.4g} after epoch"
                f" {validated[-1]['epoch']} of {training.epochs}; there was no study to validate on.")
    return f"{training.recipe} has not been validated yet."


def _best(validated: Sequence[Line]) -> int | None:
    """Which validation was the best one, the first where several are."""
    scores: list[float] = [line["validation_loss"] for line in validated if "validation_loss" in line]
    return scores.index(min(scores)) if scores else None


def _tiles(training: Training) -> list[tuple[str, str]]:
    """The figures that matter, with what they are."""
    validated = validations(training.lines)
    seconds = sum(line["seconds"] for line in validated)
    samples = sum(line["seconds"] * line["samples_per_second"] for line in validated)
    starts = sum("begins" in line for line in training.lines)
    return [
        (_number(samples / seconds) if seconds else "–", "samples a second"),
        (_percent(_waiting(validated)) if seconds else "–", "of the time waiting for data"),
        (_duration(seconds), "of training, validation apart"),
        (f"{validated[-1]['epoch'] if validated else 0} of {training.epochs}", "epochs"),
        (f"{starts}", "start" if starts == 1 else "starts"),
    ]


def _waiting(validated: Sequence[Line]) -> float:
    seconds = sum(line["seconds"] for line in validated)
    return sum(line["seconds"] * line["waiting"] for line in validated) / seconds if seconds else 0.0


def _cells(line: Line) -> tuple[str, ...]:
    """A validation under HEADINGS."""
    score = line.get("validation_loss")
    return (str(line["epoch"]), f"{line['loss']:.4g}", "–" if score is None else f"{score:.4g}", f"{line['lr']:.3g}",
            _number(line["samples_per_second"]), _percent(line["waiting"]), str(line["world"]))


def _start(line: Line) -> tuple[str, str]:
    epoch, step = line["begins"]
    return f"epoch {epoch + 1}, step {step + 1}", str(line["world"])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
