"""Waiting for a store that is down for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from lvray.errors import EnvironmentFault
from lvray.shards import s3

T = TypeVar("T")
SECONDS = 300.0
"""So long a store may be gone."""
PAUSES = (0.5, 15.0)
"""Seconds: the first pause between two attempts, and the longest."""


def patiently(do: Callable[[], T], *, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic,
              wait: Callable[[float], None] = time.sleep) -> T:
    """do(), again and again while the store or the way to it fails. EnvironmentFault: after `seconds`, or at once for
    what waiting does not mend (a full disk, a missing file, no credentials)."""
    end, pause = clock() + seconds, PAUSES[0]
    while True:
        try:
            return do()
        except EnvironmentFault as fault:
            if not s3.passing(fault.__cause__) or clock() + pause > end:
                raise
        wait(pause)
        pause = min(2 * pause, PAUSES[1])
