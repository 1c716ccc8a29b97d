"""The service's application in this process, without Ray: what would be handles are the things themselves."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from ray.exceptions import ActorDiedError

from lvray.nets.predict import beside_weights, load
from lvray.nets.trained import Trained
from lvray.serving import documents
from lvray.serving.desk import Desk
from lvray.serving.keys import Keys
from lvray.serving.messages import Asked, Reply, cut_of
from lvray.serving.meter import Meter
from lvray.serving.network import _pass
from lvray.serving.problems import MEDIA_TYPE
from lvray.serving.web import web
from lvray.settings import Serve

HOST = "http://127.0.0.1"
URL = "/v1/estimate"
ZIP = {"Content-Type": "application/zip"}
EID = "1234567"
"""An id that must not come back."""
Scenario = Callable[[httpx.AsyncClient, Desk], Awaitable[None]]


class Handle:
    """As Serve's: handle.method.remote(...) is to be awaited."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Any:
        return type("Method", (), {"remote": staticmethod(getattr(self._actor, name))})


class Replicas:
    """Of a network: replicas in turn, each with its version. Those of None are dead."""

    def __init__(self, versions: Sequence[Path | None]) -> None:
        self.versions = [None if one is None else load(one) for one in versions]
        self.calls = 0

    def _next(self) -> Any:
        found = self.versions[self.calls % len(self.versions)]
        self.calls += 1
        if found is None:
            raise ActorDiedError
        return found

    async def trained(self) -> Trained:
        return beside_weights(self._next())

    async def answer(self, asked: Asked) -> Reply:
        predictor = self._next()
        by = beside_weights(predictor)
        return Reply(by, _pass(predictor, [asked.shown])[0], 1) if asked.cut == cut_of(by) else Reply(by)


def ask(scenario: Scenario, networks: Mapping[str, Sequence[Path | None]], keys: Keys | None = None,
        **limits: Any) -> None:
    async def run() -> None:
        desk = Desk(Serve(**limits), keys or Keys(open=True),
                    {kind: Handle(Replicas(versions)) for kind, versions in networks.items()}, Handle(Meter()))
        transport = httpx.ASGITransport(web(desk))
        async with httpx.AsyncClient(transport=transport, base_url=HOST, timeout=60) as client:
            await scenario(client, desk)

    asyncio.run(run())


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def check(response: httpx.Response, status: int, reason: str) -> None:
    assert (response.status_code, response.headers["content-type"]) == (status, MEDIA_TYPE), response.text
    problem = documents.Problem.model_validate(response.json())
    assert (problem.status, problem.reason) == (status, reason)
    assert EID not in response.text
    assert "\n" not in problem.detail
