"""An actor between the workers and the command: lines of progress one way, orders the other, and a fault that ends
the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lvray.errors import LvrayError, Stopped

Line = dict[str, Any]
Order = Literal["go", "save", "stop"]
STARTS = 8
"""Starts from the same position before a run gives up: workers that die before the next checkpoint, each time."""


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
        self.started: tuple[int, int] | None = None
        self.starts = 0
        self.order: Order = "go"

    def tell(self, lines: list[Line]) -> None:
        self.lines += lines

    def fail(self, fault: LvrayError) -> None:
        """The first fault counts: others follow from it. It ends the run, saved where it can be."""
        self.fault = self.fault or fault
        self.order = "stop"

    def failed(self) -> bool:
        return self.fault is not None

    def start(self, position: tuple[int, int]) -> None:
        """The first worker begins at a position. LvrayError: the workers have died from there again and again."""
        self.starts = self.starts + 1 if position == self.started else 1
        self.started = position
        if self.starts > STARTS:
            epoch, step = position
            self.fail(LvrayError(f"the workers were lost {STARTS} times in a row after epoch {epoch + 1}, step {step},"
                                 " before another checkpoint stood: look for what ends them (memory?), or lower"
                                 " saving.seconds, then run the same command again"))

    def ask(self, order: Order) -> None:
        """Of the first worker: to save at once and go on, or to save and end. "stop" is for good."""
        if self.order != "stop":
            self.order = order

    def asked(self) -> Order:
        return self.order

    def saved(self, order: Order, position: tuple[int, int]) -> None:
        """The first worker has done as it was told."""
        if order == "stop":
            self.fail(Stopped(*position))
        elif self.order == "save":
            self.order = "go"

    def take(self) -> Taken:
        lines, self.lines = self.lines, []
        return Taken(lines, self.fault)
