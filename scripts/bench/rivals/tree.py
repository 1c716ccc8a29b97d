"""What this process and its descendants take, as the kernel counts it (proc(5))."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """User and system time of all of them, those that have ended included."""
    return sum(sum(map(int, _stat(pid)[11:15])) for pid in _pids()) / TICKS


def proportional_bytes() -> int:
    """Memory of all of them; what processes share counts once (PSS)."""
    total = 0
    for pid in _pids():
        with suppress(OSError):  # it has ended
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    return total


def _pids() -> set[int]:
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int(_stat(int(folder.name))[1])
    own = {os.getpid()}
    while grown := {pid for pid, parent in parents.items() if parent in own} - own:
        own |= grown
    return own


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on; zeros where it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["0"] * 50
