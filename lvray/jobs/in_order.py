"""A function over many items as Ray tasks, the results in the items' order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import ray

from lvray.errors import LvrayError

AHEAD = 4
"""Items in flight for each CPU of the cluster: enough to keep it busy, few enough to bound the memory."""
RETRIES = 3
"""Of an item whose worker died: a node that goes away is no fault of the item."""

Item = TypeVar("Item")
Shared = TypeVar("Shared")
Result = TypeVar("Result")


def in_order(function: Callable[[Item, Shared], Result], items: Iterable[Item], shared: Shared,
             lost: Callable[[Item], Result] | None = None) -> Iterator[Result]:
    """`function(item, shared)` of each item. lvray's own errors come back as themselves; a lost task is tried again.

    lost: what stands for an item whose worker died each time; without it that is an error.
    """
    task: Any = ray.remote(num_cpus=1, max_retries=RETRIES)(function)
    kept = ray.put(shared)
    most = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
    flying: deque[tuple[Item, Any]] = deque()
    try:
        for item in items:
            flying.append((item, task.remote(item, kept)))
            if len(flying) >= most:
                yield _result(*flying.popleft(), lost)
        while flying:
            yield _result(*flying.popleft(), lost)
    finally:
        for _, reference in flying:
            ray.cancel(reference)


def _result(item: Item, reference: Any, lost: Callable[[Item], Result] | None) -> Any:
    try:
        return ray.get(reference)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError):
        if lost is None:
            raise LvrayError(f"a worker died {RETRIES + 1} times over the same work: is there enough memory?") from None
        return lost(item)
    except ray.exceptions.RayTaskError as e:
        if isinstance(e.cause, LvrayError):
            raise e.cause from None
        raise
