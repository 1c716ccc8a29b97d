"""A reader's side of a network: cut the study as the network wants it, ask, and go on asking while replicas come and
go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ray.exceptions import ObjectLostError, RayActorError, WorkerCrashedError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

from lvray.errors import LvrayError, StudyRefused
from lvray.estimate import Estimate, View, predicted
from lvray.nets.trained import Shown, Trained
from lvray.serving.messages import Asked, Reply, cut_of
from lvray.serving.problems import busy
from lvray.settings import Serve

GONE = (RayActorError, WorkerCrashedError, ObjectLostError, BackPressureError, DeploymentUnavailableError,
        ReplicaUnavailableError)
"""A replica, a node or an object of theirs is not there any more, or not yet: ask again."""
PAUSE_SECONDS = 0.1


class Asker:
    """network: a handle of its deployment."""

    def __init__(self, network: Any, limits: Serve) -> None:
        self._network, self._limits = network, limits
        self._by: Trained | None = None
        """The latest version that has answered here."""

    async def trained(self) -> Trained:
        """The version that a replica has at hand now. Problem: 503."""
        self._by = await self._patiently(self._network.trained.remote, self._limits.retry_seconds)
        return self._by

    async def estimate(self, seen: View, tell: Callable[[str, float], None]) -> Estimate:
        """StudyRefused. Problem: 503. tell: of "network", the seconds that it took, and of "studies", those of a pass
        that this study was the first of."""
        began = time.monotonic()
        shown, reply = await self._asked(seen)
        tell("network", time.monotonic() - began)
        if reply.studies is not None:
            tell("studies", reply.studies)
        return await asyncio.to_thread(_told, seen, shown, reply)

    async def _asked(self, seen: View) -> tuple[Shown, Reply]:
        by = self._by or await self.trained()
        while True:  # again where a version came in meanwhile that wants another cut
            shown = await asyncio.to_thread(_shown, by, seen)
            if isinstance(shown, StudyRefused):
                raise shown
            reply: Reply = await self._patiently(partial(self._network.answer.remote, Asked(shown, cut_of(by))),
                                                 self._limits.answer_seconds)
            if reply.fault is not None:
                raise LvrayError(reply.fault)
            self._by = by = reply.by
            if reply.answer is not None:
                return shown, reply

    async def _patiently(self, call: Callable[[], Any], seconds: float) -> Any:
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        return await call()
                    except GONE:
                        await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:
            raise busy("the network has not answered in time", self._limits.retry_seconds) from None


def _shown(by: Trained, seen: View) -> Shown | StudyRefused:
    try:
        return by.shown(seen.image, seen.spacing, seen.centre_yx, seen.tilt)
    except StudyRefused as refusal:
        return refusal


def _told(seen: View, shown: Shown, reply: Reply) -> Estimate:
    answer = reply.answer
    assert answer is not None
    return predicted(seen, answer if isinstance(answer, float) else answer.put_back(shown.placement), reply.by)
