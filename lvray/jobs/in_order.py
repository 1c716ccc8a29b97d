"""A function over many items as Ray tasks, the results in the items' order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import ray

from lvray.errors import LvrayError

AHEAD = 4
"""Items in flight for each CPU of the cluster: enough to keep it busy, few enough to bound the memory."""

Item = TypeVar("Item")
Shared = TypeVar("Shared")
Result = TypeVar("Result")


def in_order(function: Callable[[Item, Shared], Result], items: Iterable[Item], shared: Shared) -> Iterator[Result]:
    """`function(item, shared)` of each item. lvray's own errors come back as themselves; a lost task is tried again."""
    task: Any = ray.remote(num_cpus=1, max_retries=3)(function)
    kept = ray.put(shared)
    most = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
    flying: deque[Any] = deque()
    for item in items:
        flying.append(task.remote(item, kept))
        if len(flying) >= most:
            yield _result(flying.popleft())
    while flying:
        yield _result(flying.popleft())


def _result(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as e:
        if isinstance(e.cause, LvrayError):
            raise e.cause from None
        raise
