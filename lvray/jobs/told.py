"""Work on a thread, and this process told to end meanwhile."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lvray.errors import Stopped

UNANSWERED = "stopped, but the workers did not answer: the same command goes on from the last checkpoint"


class Thread(threading.Thread):
    """A daemon: a run that is given up does not hold the process. error: what ended it."""

    def __init__(self, target: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._call = target
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self.error = error


@contextmanager
def told_to_end() -> Iterator[list[int]]:
    """The signals that have told this process to end, instead of ending it; a second one does."""
    told: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield told
        return

    def note(number: int, frame: object) -> None:
        if told:
            raise KeyboardInterrupt
        told.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ended(number: int, saved: bool = False) -> BaseException:
    """By a signal. saved: all that was under way; else the workers did not answer."""
    if number == signal.SIGINT:
        return KeyboardInterrupt()
    return Stopped("stopped and saved: the same command goes on from there" if saved else UNANSWERED)
