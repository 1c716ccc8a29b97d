"""Limits of time and memory around work on data that nobody has vetted."""

from __future__ import annotations

import faulthandler
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from lvray.errors import EnvironmentFault

MEMORY_BYTES = 1 << 30
"""More than this a study may not take: a full UK Biobank one takes 0.2 GB."""


@contextmanager
def bounded(seconds: int, memory: int = MEMORY_BYTES) -> Iterator[None]:
    """Inside, the process ends itself after `seconds`, whatever C code it is in; what would take more than `memory`
    bytes on top of what the process has already raises MemoryError (on Linux). For the worker of a Ray task."""
    pa.allocate_buffer(1)  # Arrow's allocator sets a gigabyte of addresses aside at first: not the study's
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + memory, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, limits)
            faulthandler.cancel_dump_traceback_later()


def _data_bytes() -> int:
    """Private writable memory of this process (proc(5), VmData)."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmData")) * 1024
    except OSError as e:
        raise EnvironmentFault("cannot read /proc/self/status: workers of lvray need Linux") from e
