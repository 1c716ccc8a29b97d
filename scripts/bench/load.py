"""Clients of a service: so many at once, or so many requests a second; what they got, and what it cost in memory."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

CLIENTS = 8
URL, ZIP = "/v1/estimate", {"Content-Type": "application/zip"}


@dataclass
class Load:
    """What clients got in a span of seconds: statuses (0: no answer), and how long each 200 took."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    taken: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return len(self.taken) / self.seconds

    def quantile(self, share: float) -> float:
        return float(np.quantile(self.taken, share)) if self.taken else float("nan")

    async def one(self, client: httpx.AsyncClient, body: bytes) -> None:
        began = time.perf_counter()
        try:
            status = (await client.post(URL, content=body, headers=ZIP)).status_code
        except httpx.TransportError:
            status = 0
        self.statuses[status] += 1
        if status == 200:
            self.taken.append(time.perf_counter() - began)


async def closed(url: str, bodies: list[bytes], seconds: float) -> Load:
    """CLIENTS clients, each with its next study as soon as it has an answer; those under way at the end count."""
    load, turn, began = Load(), itertools.cycle(bodies), time.perf_counter()

    async def client_of(client: httpx.AsyncClient) -> None:
        while time.perf_counter() - began < seconds:
            await load.one(client, next(turn))

    async with connected(url) as client:
        await asyncio.gather(*(client_of(client) for _ in range(CLIENTS)))
    load.seconds = time.perf_counter() - began
    return load


async def paced(url: str, bodies: list[bytes], seconds: float, rate: float) -> Load:
    """So many requests a second, whatever becomes of them."""
    load, turn, began = Load(), itertools.cycle(bodies), time.perf_counter()
    async with connected(url) as client, asyncio.TaskGroup() as group:
        for number in range(max(1, int(seconds * rate))):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            group.create_task(load.one(client, next(turn)))
    load.seconds = time.perf_counter() - began
    return load


def connected(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=600, trust_env=False,
                             limits=httpx.Limits(max_connections=None, max_keepalive_connections=CLIENTS))


async def overloaded(url: str, bodies: list[bytes], seconds: float, rate: float) -> tuple[Load, int]:
    """The load, and the most memory seen meanwhile."""
    peak, over = 0, False

    async def watch() -> None:
        nonlocal peak
        while not over:
            peak = max(peak, await asyncio.to_thread(tree_bytes))
            await asyncio.sleep(1)

    watching = asyncio.create_task(watch())
    found = await paced(url, bodies, seconds, rate)
    over = True
    await watching
    return found, peak


def tree_bytes() -> int:
    """Memory of all processes below this one, what they share counted once (proc(5): Pss)."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    own = {os.getpid()}
    while grown := {pid for pid, parent in parents.items() if parent in own} - own:
        own |= grown
    return sum(map(_pss, own - {os.getpid()}))


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) << 10
    except (OSError, StopIteration):
        return 0
