"""What Prometheus is told of a run."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from lvray.jobs import gauges
from lvray.jobs.board import Line

BEGINS: Line = {"begins": (0, 0), "world": 1, "epochs": 2, "steps": 3}


def test_pace_and_age_of_the_last_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, float]] = []

    class Gauge:
        def __init__(self, name: str, description: str) -> None:
            self.name = name

        def set(self, value: float) -> None:
            told.append((self.name, value))

    monkeypatch.setattr(gauges, "Gauge", Gauge)
    seconds: Any = count(1000.0)
    made = gauges.Gauges(lambda: next(seconds))  # 1000
    pace: Line = {"pace": {"samples_per_second": 80.0, "waiting": 0.1, "seconds": 1.0}}
    for line in (BEGINS, {"epoch": 1, "step": 1, "loss": 1.0, "norm": 1.0}, pace, {"saved": "00000-000001"}, pace):
        made.take(line)
    assert told == [(gauges.RATE, 80.0), (gauges.WAITING, 0.1), (gauges.SAVED, 1001.0),
                    (gauges.RATE, 80.0), (gauges.WAITING, 0.1), (gauges.SAVED, 1002.0)]
