"""The metrics of a run, every step and every validation once: `<run>/metrics.jsonl`, and trackers where asked for.

A line is one of these, in the order of the run; epochs and steps count from 1, positions (epoch, step) from 0:
    {"begins": position, "world", "epochs", "steps"}    workers begin, or begin again; steps: of an epoch
    {"epoch", "step", "loss", "norm"}
    {"epoch", "loss", "lr", "validation_loss", "samples_per_second", "waiting", "seconds", "world"}
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import BinaryIO, Self

from lvray.errors import EnvironmentFault
from lvray.jobs.board import Line
from lvray.jobs.track import TRACKERS
from lvray.settings import Recipe
from lvray.shards import storage
from lvray.shards.patience import patiently

FILE = "metrics.jsonl"
SECONDS = 60.0
"""What is not published line by line is so often, besides at every validation."""

Do = Callable[[], None]


class Record:
    """The lines as text. A file grows by each of them; an object, which cannot, is written anew by `put`."""

    def __init__(self, run: str) -> None:
        self._uri = storage.join(run, FILE)
        text = storage.read_bytes(self._uri, FILE) if storage.exists(self._uri, FILE) else b""
        self._texts = text.splitlines(keepends=True)
        self._file: BinaryIO | None = None

    def rewind(self, position: tuple[int, int]) -> None:
        """Drop the steps from a position on, the validations after it, and what a kill left half-written."""
        self._texts = [text for text in self._texts if _before(text, position)]
        self.close()
        if not storage.is_s3(self._uri):
            storage.write_atomic(self._uri, self.text(), FILE)
            self._file = open(storage.absolute(self._uri), "ab", buffering=0)  # noqa: SIM115 - closed by `close`

    def add(self, line: Line) -> None:
        text = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        self._texts.append(text)
        if self._file is not None:
            with storage.faults(f"write {FILE}"):
                self._file.write(text)

    def text(self) -> bytes:
        return b"".join(self._texts)

    def lines(self) -> list[Line]:
        return [json.loads(text) for text in self._texts]

    def put(self, text: bytes) -> None:
        if storage.is_s3(self._uri):
            storage.write_atomic(self._uri, text, FILE)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class Metrics:
    """Takes what the workers tell; a context. UseError, EnvironmentFault: a tracker that is asked for cannot be had.

    Stores and servers are served on a thread. One that refuses is noticed, once, and given all that it has missed the
    next time; an object store that refuses metrics.jsonl to the end is an EnvironmentFault.
    """

    def __init__(self, run: str, track: Collection[str], recipe: Recipe, data: str,
                 notice: Callable[[str], None]) -> None:
        self._record, self._notice = Record(run), notice
        self._trackers = [TRACKERS[name](run, recipe, data) for name in track]
        self._pool = ThreadPoolExecutor(1, "metrics")
        self._publishing: Future[list[str]] | None = None
        self._published = time.monotonic()
        self._noticed: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def take(self, line: Line) -> None:
        """A line of the run, which is kept, or another, which is not."""
        if "begins" in line:
            self._begin(line)
        elif "epoch" in line:
            self._record.add(line)
            for tracker in self._trackers:
                tracker.take(line)
            if "step" not in line or time.monotonic() - self._published >= SECONDS:
                self._publish()

    def lines(self) -> list[Line]:
        """All of the run's, from its first start on."""
        return self._record.lines()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._wait()
        self._publish()
        self._wait()
        self._pool.shutdown()
        for tracker in self._trackers:
            self._noticed_faults(_faults([partial(tracker.close, finished=error is None)]))
        self._record.close()
        if error is None:
            patiently(partial(self._record.put, self._record.text()))

    def _begin(self, line: Line) -> None:
        self._record.rewind(line["begins"])
        standing = self._record.lines()
        self._record.add(line)
        for tracker in self._trackers:
            tracker.begin(line, standing)

    def _publish(self) -> None:
        """Begin to, unless it is still being done."""
        if self._publishing is not None and not self._publishing.done():
            return
        self._wait()
        parts: list[Do] = [partial(self._record.put, self._record.text()), *(t.publish for t in self._trackers)]
        self._publishing = self._pool.submit(_faults, parts)
        self._published = time.monotonic()

    def _wait(self) -> None:
        if self._publishing is not None:
            self._noticed_faults(self._publishing.result())
            self._publishing = None

    def _noticed_faults(self, faults: list[str]) -> None:
        for text in faults:
            if text not in self._noticed:
                self._noticed.add(text)
                self._notice(text)


def _faults(parts: Iterable[Do]) -> list[str]:
    """Do each, whatever becomes of the others. -> what went wrong"""
    found = []
    for do in parts:
        try:
            do()
        except EnvironmentFault as fault:
            found.append(str(fault))
    return found


def _before(text: bytes, position: tuple[int, int]) -> bool:
    """Whether a line stands when the run goes on from a position. All starts do."""
    try:
        line = json.loads(text)
    except ValueError:
        return False
    if "begins" in line:
        return True
    epoch, step = position
    return line["epoch"] <= epoch or ("step" in line and line["epoch"] == epoch + 1 and line["step"] <= step)
