"""The command as a process of its own, and the processes that it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

LVRAY = Path(sys.executable).with_name("lvray")


def start(*arguments: object, env: Mapping[str, str] = {}) -> subprocess.Popen[str]:
    return subprocess.Popen([str(LVRAY), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env={**os.environ, **env})


def descendants(pid: int) -> list[int]:
    """Every process below one, as Linux lists them now."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _read(entry / "stat")):
            below.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        children = below.get(todo.pop(), [])
        found += children
        todo += children
    return found


def workers(pid: int) -> list[int]:
    """Ray's workers below a process: idle ones and those at work."""
    return [child for child in descendants(pid) if title(child).startswith("ray::")]


def trainers(*pids: int) -> list[int]:
    """Ray Train's workers below those processes."""
    return [worker for pid in pids for worker in workers(pid) if "RayTrainWorker" in title(worker)]


def title(pid: int) -> str:
    """What a process calls itself: a worker at work `ray::` and its function."""
    return _read(Path(f"/proc/{pid}/cmdline"))


def peak_bytes(pid: int) -> int:
    """The most memory that a process has held at once (VmHWM); 0 for one that is gone."""
    lines = [line for line in _read(Path(f"/proc/{pid}/status")).splitlines() if line.startswith("VmHWM")]
    return int(lines[0].split()[1]) * 1024 if lines else 0


def kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
