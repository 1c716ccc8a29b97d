"""What Prometheus sees of a training run, through Ray's own metrics port: each name here with ray_ before it.
k8s/components/monitoring shows them and warns by them."""

from __future__ import annotations

import time
from collections.abc import Callable

from ray.util.metrics import Gauge

from lvray.jobs.board import Line

RATE, WAITING, SAVED = "lvray_samples_per_second", "lvray_waiting_share", "lvray_checkpoint_timestamp_seconds"


class Gauges:
    """Takes the lines of a run (jobs/loop.py). clock: seconds since 1970.

    All are set with every pace: Ray forgets what is not told again.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock, self._at = clock, clock()
        self._rate = Gauge(RATE, "Rows trained on a second, since the last validation.")
        self._waiting = Gauge(WAITING, "Share of the time that training waited for data, since the last validation.")
        self._saved = Gauge(SAVED, "When the run was last saved, or began.")

    def take(self, line: Line) -> None:
        if "saved" in line or "begins" in line:
            self._at = self._clock()
        elif "pace" in line:
            self._rate.set(line["pace"]["samples_per_second"])
            self._waiting.set(line["pace"]["waiting"])
            self._saved.set(self._at)
