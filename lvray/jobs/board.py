"""An actor between the workers and the command: lines of progress one way, orders the other, and a fault that ends
the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lvray.errors import LvrayError, Stopped

Line = dict[str, Any]
Order = Literal["go", "save", "stop"]
STARTS = 8
"""In a row without a new checkpoint, before a run gives up."""


@dataclass(frozen=True)
class Taken:
    """What the command has not seen yet."""

    lines: list[Line]
    fault: LvrayError | None


class Board:
    """One a run. Positions are (epoch, step), from 0."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.fault: LvrayError | None = None
        self.furthest = (0, 0)
        self.starts = 0
        self.lost = ""
        self.order: Order = "go"

    def tell(self, lines: list[Line]) -> None:
        self.lines += lines

    def fail(self, fault: LvrayError) -> None:
        """The first fault counts: others follow from it. It ends the run, saved where it can be."""
        self.fault = self.fault or fault
        self.order = "stop"

    def lose(self, error: str) -> None:
        """A worker has ended by an error that may have come of another's loss."""
        self.lost = error

    def failed(self) -> bool:
        return self.fault is not None

    def start(self) -> None:
        """The first worker begins. LvrayError: workers have died before each new checkpoint again and again."""
        self.starts += 1
        if self.starts > STARTS:
            epoch, step = self.furthest
            self.fail(LvrayError(f"the workers were lost {STARTS} times in a row after epoch {epoch + 1}, step {step},"
                                 " before another checkpoint stood: look for what ends them"
                                 f" ({self.lost or 'memory?'}), or lower saving.seconds, then run the same command"
                                 " again"))

    def begin(self, position: tuple[int, int]) -> None:
        """From where on it trains."""
        if position > self.furthest:
            self.furthest, self.starts = position, 1

    def ask(self, order: Order) -> None:
        """Of the first worker: to save at once and go on, or to save and end. "stop" is for good."""
        if self.order != "stop":
            self.order = order

    def asked(self) -> Order:
        return self.order

    def saved(self, order: Order, position: tuple[int, int]) -> None:
        """The first worker has done as it was told."""
        if order == "stop":
            epoch, step = position
            self.fail(Stopped(f"stopped and saved after step {step} of epoch {epoch + 1}: the same command goes on from"
                              " there"))
        elif self.order == "save":
            self.order = "go"

    def take(self) -> Taken:
        lines, self.lines = self.lines, []
        return Taken(lines, self.fault)
