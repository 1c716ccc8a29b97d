"""What happens to a request for an estimate: room for it, its bytes, the study, the networks, the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from lvray.errors import StudyRefused
from lvray.estimate import Estimate
from lvray.serving import intake, reading
from lvray.serving.ask import Asker
from lvray.serving.forms import FORMS, Answer, wanted
from lvray.serving.intake import Held, Hold
from lvray.serving.keys import Keys, Rate
from lvray.serving.meter import Tally
from lvray.serving.problems import Problem, busy
from lvray.serving.reading import Study, Worker
from lvray.settings import Serve

BOTH = "both"


@dataclass(frozen=True)
class Wish:
    """network: "seg", "reg", "both", or None: the segmenter where there is one. form: of FORMS, or None: by Accept."""

    network: str | None
    view: bool
    form: str | None


class Desk:
    """A reader's. networks: handles by kind; meter: a handle of the actor that adds up."""

    def __init__(self, limits: Serve, keys: Keys, networks: Mapping[str, Any], meter: Any) -> None:
        self.limits, self.keys, self.rate = limits, keys, Rate(limits.per_minute)
        self.askers = {kind: Asker(handle, limits) for kind, handle in networks.items()}
        self.tally = Tally(meter)
        self.worker = Worker(limits.study_seconds)
        self._held, self._at_hand = Held(limits), 0

    async def estimate(self, request: Request, wish: Wish) -> tuple[str, bytes]:
        """The media type and the bytes of the answer. Problem, StudyRefused, EnvironmentFault."""
        form = FORMS[wish.form or wanted(request.headers.get("accept"))]
        kinds = self._kinds(wish.network)
        with self._turn(), self._held.hold() as hold:
            async with self._stage("upload"):
                body = await intake.taken(request, self.limits, hold)
                if isinstance(body, str):
                    body = await self._fetched(body, hold)
            async with self._stage("read"):
                study = await self.worker.run(reading.read, body, self.limits)
            found = dict(zip(kinds, await asyncio.gather(*(self._found(kind, study) for kind in kinds)), strict=True))
            async with self._stage("answer"):
                answer = Answer(study, found, wish.view)
                for flag in answer.best.quality:
                    self.tally.note("flag", flag)
                return form.media_type, await self.worker.run(form.make, answer)

    async def _fetched(self, uri: str, hold: Hold) -> bytes:
        try:
            async with asyncio.timeout(self.limits.upload_seconds):
                where, size = await asyncio.to_thread(reading.locate, uri, self.limits)
                hold(size)
                return await asyncio.to_thread(reading.fetch, where)
        except TimeoutError:
            raise busy("the store has not answered in time", self.limits.retry_seconds) from None

    def _kinds(self, network: str | None) -> list[str]:
        kinds = [*self.askers] if network == BOTH else [network or next(iter(self.askers))]
        if (network == BOTH and len(kinds) < 2) or kinds[0] not in self.askers:
            raise Problem(404, f"this service holds {' and '.join(self.askers)} alone (network=...)", "no_such_network")
        return kinds

    async def _found(self, kind: str, study: Study) -> Estimate | StudyRefused:
        def tell(what: str, value: float) -> None:
            if what == "studies":
                self.tally.note("pass", kind, value)
            else:
                self.tally.note("stage", what, value)

        try:
            return await self.askers[kind].estimate(study.view, tell)
        except StudyRefused as refusal:
            return refusal

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._at_hand >= self.limits.queue:
            raise busy("the queue is full: come back", self.limits.retry_seconds, "queue_full")
        self._at_hand += 1
        try:
            yield
        finally:
            self._at_hand -= 1

    @asynccontextmanager
    async def _stage(self, name: str) -> AsyncIterator[None]:
        began = time.monotonic()
        yield
        self.tally.note("stage", name, time.monotonic() - began)
