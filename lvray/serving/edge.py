"""At Ray Serve's HTTP proxy, around whatever answers: every error is a problem document, and every client can read it.

Ray's own errors are lines of text, and where a replica dies with a request in its hands, none at all, which the HTTP
server makes a 500. A server that answers before it has all of the body, and closes, may cut off its own answer: so
what is left of a refused body is read first, and thrown away.

Proxies find this by RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=lvray.serving.edge.middlewares in their environment.
"""

from __future__ import annotations

import asyncio
import os

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lvray.serving.problems import MEDIA_TYPE, Problem, busy

STUDIES = "/v1/estimate"
AT_ONCE = int(os.environ.get("LVRAY_PROXY_STUDIES", "128"))
"""Requests for estimates that a proxy has open; readers refuse sooner, but a proxy keeps what they have not taken."""
BLOCK_BYTES = 4 << 20
RETRY_SECONDS = 1
DRAIN_SECONDS = 30.0
"""So long a client may take over the rest of a body that nobody wants any more."""


def middlewares() -> list[Middleware]:
    return [Middleware(Edge)]


class Edge:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: set[_Answer] = set()
        self._drained: set[_Answer] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        waits = any(name == b"expect" for name, _ in scope["headers"])
        answer = _Answer(receive, send, waits, self._open, self._drained)
        if scope["path"] == STUDIES:
            if len(self._open) >= AT_ONCE:
                await answer.problem(busy("too many requests are open: come back", RETRY_SECONDS, "queue_full"))
                return
            self._open.add(answer)
        # Ray would write the client's own id of a request into its logs.
        scope = {**scope, "headers": [one for one in scope["headers"] if one[0] != b"x-request-id"]}
        try:
            await self._app(scope, answer.receive, answer.send)
        finally:
            self._open.discard(answer)
        if not answer.started:
            await answer.problem(busy("whoever had this request is gone: send it again", RETRY_SECONDS))


class _Answer:
    """One request's way in and out.

    waits: the client sends no body before it is told to (RFC 9110, 10.1.1). admitted: where it stands until it is
    refused. drained: those whose bodies are read to the end for nothing.
    """

    def __init__(self, receive: Receive, send: Send, waits: bool, admitted: set[_Answer],
                 drained: set[_Answer]) -> None:
        self._receive, self._send, self._waits = receive, send, waits
        self._admitted, self._drained = admitted, drained
        self._complete = asyncio.Event()
        self._refused = False
        self._replaced = False
        self.started = False

    async def receive(self) -> Message:
        """Whole blocks, each of which costs a reader a call of this process. While the answer is an error, what comes
        in goes nowhere; the proxy would keep it."""
        block = bytearray()
        self._waits = False
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                self._complete.set()
                return message
            block += message.get("body", b"")
            if not message.get("more_body"):
                self._complete.set()
                return {**message, "body": bytes(block)}
            if self._refused:
                block.clear()
            elif len(block) >= BLOCK_BYTES:
                return {**message, "body": bytes(block)}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self._refused = message["status"] >= 400
            if self._refused:
                self._admitted.discard(self)
            if self._refused and not _has_type(message, MEDIA_TYPE):
                await self._replace(message)
                return
            if self._refused and self._waits:
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        if self._replaced:
            return
        if self._refused and message["type"] == "http.response.body" and not message.get("more_body"):
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body"}
        await self._send(message)

    async def problem(self, problem: Problem) -> None:
        headers = [(b"content-type", MEDIA_TYPE.encode()),
                   *((name.lower().encode(), value.encode()) for name, value in problem.headers.items())]
        await self.send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": problem.body()})

    async def _replace(self, message: Message) -> None:
        """Ray's own error. Its text may repeat the path, which is the client's."""
        status = message["status"]
        await self.problem(busy("no replica can take this request now", RETRY_SECONDS) if status >= 500 else
                           Problem(status, "nothing answers there" if status == 404 else "the request was refused"))
        self._replaced = True

    async def _drain(self) -> None:
        """Until all of the body is there. The proxy takes it in, or, once the proxy is done with the request, this."""
        if self._waits or len(self._drained) >= AT_ONCE:
            return
        self._drained.add(self)
        tasks = [asyncio.ensure_future(self._complete.wait()), asyncio.ensure_future(self.receive())]
        await asyncio.wait(tasks, timeout=DRAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        self._drained.discard(self)


def _has_type(message: Message, kind: str) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(kind.encode())
               for name, value in message.get("headers", ()))
