"""How much memory Ray's workers take at most, as the kernel counts it (proc(5): VmHWM)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EVERY_SECONDS = 0.2


@contextmanager
def workers() -> Iterator[dict[int, int]]:
    """{pid: bytes} of this process's Ray workers, filled while inside. A peak counts from the worker's start, and
    includes what it shares with others."""
    peaks: dict[int, int] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(EVERY_SECONDS):
            peaks.update(_peaks())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()
        peaks.update(_peaks())


def _peaks() -> dict[int, int]:
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found[int(folder.name)] = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        except OSError:  # it has ended
            continue
    own = {os.getpid()}
    while grown := {pid for pid, status in found.items() if int(status["PPid"]) in own} - own:
        own |= grown
    return {pid: int(found[pid]["VmHWM"].split()[0]) * 1024 for pid in own
            if pid in found and found[pid]["Name"].strip().startswith("ray::")}
