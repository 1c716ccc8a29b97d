"""What readers and networks tell each other. No torch: a reader starts without it.

Whoever asks may have seen another version than the one at hand. So an answer brings along the version that made it,
and where that wants its studies cut otherwise, there is no answer, and the asker cuts anew.
"""

from __future__ import annotations

from dataclasses import dataclass

from lvray.nets.trained import Drawn, Shown, Trained

Cut = tuple[tuple[int, ...], str, float | None]
"""What decides how a study is shown: box, what it is centred on, and its pixel size if that is one for all."""


def cut_of(by: Trained) -> Cut:
    return tuple(by.network["box"]), by.network["centre"], by.network["pixel_mm"]


@dataclass(frozen=True)
class Asked:
    """Pixels in the network's box, and how they were cut: no name, no date, no id."""

    shown: Shown
    cut: Cut


@dataclass(frozen=True)
class Reply:
    """answer: a mask [box], or grams; None where the study was cut for another version, or with a fault, in a line.
    studies: how many the pass had, told with its first."""

    by: Trained
    answer: Drawn | float | None = None
    studies: int | None = None
    fault: str | None = None
