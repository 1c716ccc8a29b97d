"""How a search of settings went, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from lvray.evidence.figures import BLUE, GREY, INK, ORANGE, plain, png

MARKS = {"done": "o", "stopped": "v", "failed": "x"}
SPAN = 2.0
"""Losses that differ by more than this factor are shown on a logarithmic axis."""
SAYS = {"done": "trained to the end", "stopped": "stopped early", "failed": "failed"}


@dataclass(frozen=True)
class Trial:
    """One trial. validations: (epoch, loss); state: of MARKS; values: of the settings searched."""

    number: int
    state: str
    values: Mapping[str, Any]
    validations: Sequence[tuple[int, float]]

    @property
    def score(self) -> float:
        return min(loss for _, loss in self.validations)


def picture(trials: Sequence[Trial], winner: int) -> bytes:
    """Validation loss against the epoch for every trial; beside it the best of each against each setting. PNG."""
    shown = [trial for trial in trials if trial.validations]
    names = list(shown[0].values)
    figure = Figure(figsize=(5.6 + 3.4 * len(names), 4.2), dpi=110, facecolor="white", layout="constrained")
    epochs, *scores = figure.subplots(1, 1 + len(names), width_ratios=[1.5] + [1] * len(names), squeeze=False)[0]
    _courses(epochs, shown, winner)
    for axes, name in zip(scores, names, strict=True):
        _against(axes, shown, winner, name)
    return png(figure)


def _courses(axes: Axes, trials: Sequence[Trial], winner: int) -> None:
    for trial in sorted(trials, key=lambda trial: trial.number == winner):
        best = trial.number == winner
        axes.plot(*zip(*trial.validations, strict=True), color=ORANGE if best else GREY, linewidth=2.2 if best else 1.1,
                  label=f"trial {winner}, the winner" if best else None)
        axes.plot(*trial.validations[-1], marker=MARKS[trial.state], color=ORANGE if best else GREY, markersize=6)
    axes.set_xlabel("epoch", fontsize=9, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("validation loss", fontsize=11, color=INK, fontweight="bold", loc="left")
    _dress(axes)


def _against(axes: Axes, trials: Sequence[Trial], winner: int, name: str) -> None:
    for state in dict.fromkeys(trial.state for trial in trials):
        here = [trial for trial in trials if trial.state == state]
        axes.plot([_place(trial.values[name]) for trial in here], [trial.score for trial in here], color=BLUE,
                  linestyle="none", marker=MARKS[state], markersize=6, label=SAYS[state])
    best = next(trial for trial in trials if trial.number == winner)
    axes.plot(_place(best.values[name]), best.score, marker="o", markersize=13, markerfacecolor="none",
              markeredgecolor=ORANGE, markeredgewidth=2, linestyle="none", label=f"trial {winner}, the winner")
    axes.set_xlabel(name, fontsize=9, color=INK)
    axes.set_title("least validation loss", fontsize=11, color=INK, fontweight="bold", loc="left")
    _dress(axes)


def _place(value: Any) -> Any:
    """On a number's axis, or among names."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _dress(axes: Axes) -> None:
    """Logarithmic where the losses span a factor."""
    low, high = axes.get_ylim()
    if 0 < low * SPAN < high:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.3g}"))
    axes.legend(fontsize=8, frameon=False)
    plain(axes)
