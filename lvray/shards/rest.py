"""A rest for Ray Data's scheduling loop. While what it has read waits to be used, the loop of Ray 2.60 turns without a
pause: a core's worth, and the GIL of the process that trains."""

from __future__ import annotations

import time
from typing import Any

from ray.data._internal.execution.execution_callback import ExecutionCallback

SECONDS = 0.01
"""Short beside the reading of a block."""


class Rest(ExecutionCallback):
    def on_execution_step(self, executor: Any) -> None:
        time.sleep(SECONDS)
