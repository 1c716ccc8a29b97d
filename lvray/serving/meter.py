"""Metrics of all replicas behind one address. No label is a client's text.

Each reader sends what it has counted to one small actor, once a second, which adds it up: whichever reader is asked for
/metrics, the answer is that of all. Should that actor die, counters begin again at 0, as Prometheus expects of a
restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest

from lvray.serving.listening import on_the_nodes_address_alone
from lvray.serving.problems import busy

Event = tuple[str, float, str]
"""Metric, value, label: of a histogram an observation, of a counter what to add."""
STAGES = ("upload", "read", "network", "answer", "all")
LETTER_SECONDS = 1.0
MOST_EVENTS = 10_000
"""Kept while the actor is away."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
STUDIES = (1, 2, 4, 8, 16, 32, 64)


class Meter:
    """The actor."""

    def __init__(self) -> None:
        on_the_nodes_address_alone()
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._metrics: dict[str, Counter | Histogram] = {
            "stage": Histogram("lvray_stage_seconds", "Of a request: upload, read, network, answer, and all of it.",
                               ["stage"], buckets=SECONDS, registry=self._registry),
            "pass": Histogram("lvray_batch_studies", "Studies of a network's pass.", ["network"], buckets=STUDIES,
                              registry=self._registry),
            "request": Counter("lvray_requests", "Requests by status.", ["status"], registry=self._registry),
            "refusal": Counter("lvray_refusals", "Requests that got no estimate, by reason.", ["reason"],
                               registry=self._registry),
            "flag": Counter("lvray_flags", "Quality flags of estimates.", ["flag"], registry=self._registry)}

    async def add(self, events: Sequence[Event]) -> None:
        for name, value, label in events:
            metric = self._metrics[name].labels(label)
            if isinstance(metric, Histogram):
                metric.observe(value)
            else:
                metric.inc(value)

    async def text(self) -> bytes:
        return generate_latest(self._registry)


class Tally:
    """A reader's side. meter: a handle of the actor."""

    def __init__(self, meter: Any) -> None:
        self._meter = meter
        self._events: list[Event] = []
        self._letter = asyncio.Lock()
        self._sending: asyncio.Task[None] | None = None

    def note(self, name: str, label: str, value: float = 1.0) -> None:
        """It is sent within LETTER_SECONDS."""
        del self._events[:-MOST_EVENTS + 1]
        self._events.append((name, value, label))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.get_running_loop().create_task(self._send_soon())

    async def text(self) -> bytes:
        """In Prometheus's text format, with all that this reader has counted. Problem: 503, the actor is away."""
        await self._send()
        try:
            text: bytes = await self._meter.text.remote()
        except Exception:
            raise busy("whoever adds up the metrics is starting anew", 1) from None
        return text

    async def _send_soon(self) -> None:
        while self._events:
            await asyncio.sleep(LETTER_SECONDS)
            if not await self._send():
                return

    async def _send(self) -> bool:
        async with self._letter:
            sent, self._events = self._events, []
            try:
                await self._meter.add.remote(sent)
            except Exception:  # away: with the next ones
                self._events = sent + self._events
                return False
        return True
