"""One side of loader.py, in a process of its own: writes its format, or delivers an epoch and is timed.

    python -m scripts.bench.rivals.side MODULE JSON

A module of this folder has `write(place)`, which puts `place.rows` rows at `place.uri` in the format of that side, and
`session(place)`, inside which `batches()` gives an epoch, shuffled, in batches of image int16 and mask uint8
[4, Z, Y, X]. What a session needs that outlasts an epoch (a Ray cluster) is made before the clock runs.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from scripts.bench.rivals.rows import BATCH, SHAPE, numbers
from scripts.bench.rivals.tree import cpu_seconds, proportional_bytes

EVERY_SECONDS = 0.1
SPARE = 2 * BATCH
"""Rows that a loader of two workers may keep, which fill no batch."""


@dataclass(frozen=True)
class Place:
    """uri: of the format's own folder; cache: a local folder; options: of the module."""

    uri: str
    rows: int
    cache: Path
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def bucket_and_key(self) -> tuple[str, str]:
        bucket, _, key = self.uri.removeprefix("s3://").partition("/")
        return bucket, key


@dataclass(frozen=True)
class Delivered:
    """An epoch. first: seconds to the first batch; rate and cpu_ms: samples/s, and CPU of the process tree a sample,
    after it; peak: bytes, proportional set sizes of the tree (0 where not watched)."""

    rows: int
    first: float
    rate: float
    cpu_ms: float
    peak: int


def read(module: Any, place: Place, step: float, watched: bool) -> Delivered:
    """step: seconds that each batch is slept over, as a GPU's step leaves the CPU. RuntimeError: not each row once."""
    seen: list[int] = []
    with module.session(place) as batches, _peak(watched) as peak:
        busy, first, began = 0.0, 0.0, perf_counter()
        for image, mask in batches():
            if not seen:
                busy, first = cpu_seconds(), perf_counter() - began
            assert tuple(image.shape) == tuple(mask.shape) == (BATCH, *SHAPE), (image.shape, mask.shape)
            seen += numbers(image)
            sleep(step)
        seconds, busy = perf_counter() - began, cpu_seconds() - busy
    if len(set(seen)) != len(seen) or len(seen) < place.rows - SPARE:
        raise RuntimeError(f"{len(seen)} rows, {len(set(seen))} different ones, of {place.rows}")
    if seen == sorted(seen):
        raise RuntimeError("not shuffled")
    later = len(seen) - BATCH
    return Delivered(len(seen), first, later / (seconds - first), 1e3 * busy / later, max(peak))


@contextmanager
def _peak(watched: bool) -> Iterator[list[int]]:
    """What the process tree takes, filled while inside; looking costs time."""
    found, over = [0], threading.Event()

    def watch() -> None:
        while True:
            found.append(proportional_bytes())
            if over.wait(EVERY_SECONDS):
                return

    thread = threading.Thread(target=watch)
    if watched:
        thread.start()
    try:
        yield found
    finally:
        over.set()
        if watched:
            thread.join()


def main() -> None:
    module, order = importlib.import_module(f"scripts.bench.rivals.{sys.argv[1]}"), json.loads(sys.argv[2])
    place = Place(order["uri"], order["rows"], Path(order["cache"]), order["options"])
    if order["do"] == "write":
        module.write(place)
        print(json.dumps({}))
    else:
        print(json.dumps(asdict(read(module, place, order["step"], order["watched"]))))


if __name__ == "__main__":
    main()
