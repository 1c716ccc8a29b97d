"""The one log of a run: what was done, when, for how long, and what the commands said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Log:
    """Writes `path` anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began = time.monotonic()
        self._steps: list[tuple[str, float]] = []
        path.write_text("")

    def say(self, text: str) -> None:
        with self._path.open("a") as out:
            out.write(f"[{time.monotonic() - self._began:6.1f} s] {text}\n")

    def quote(self, text: str) -> None:
        with self._path.open("a") as out:
            out.writelines(f"    {line}\n" for line in text.splitlines())

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        self.say(what)
        yield
        self._steps.append((what, time.monotonic() - began))

    def sum_up(self) -> None:
        self.say("all of it held:")
        self.quote("\n".join(f"{seconds:6.1f} s  {what}" for what, seconds in self._steps))
