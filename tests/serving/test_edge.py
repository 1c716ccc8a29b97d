"""What stands around every answer at Ray's proxy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lvray.serving.edge import AT_ONCE, BLOCK_BYTES, STUDIES, Edge
from lvray.serving.problems import MEDIA_TYPE


def asked(app: ASGIApp, body: Sequence[bytes] = (b"",), path: str = STUDIES,
          open_already: int = 0, headers: Sequence[tuple[bytes, bytes]] = ()) -> tuple[list[Message], list[bytes]]:
    """What was sent for a request of these pieces, and the pieces that nobody has taken."""
    left = list(body)
    edge = Edge(app)
    edge._open |= {cast(Any, object()) for _ in range(open_already)}

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        piece = left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            sent.append({**message, "left": len(left)})
        else:
            sent.append(message)

    asyncio.run(asyncio.wait_for(edge({"type": "http", "path": path, "headers": headers}, receive, send), 20))
    return sent, left


def answering(status: int, kind: bytes, body: bytes) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": status, "headers": [(b"Content-Type", kind)]})
        await send({"type": "http.response.body", "body": body})

    return app


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    pass


def test_whose_replica_died_is_told_to_come_back() -> None:
    sent, _ = asked(silent)
    assert sent[0]["status"] == 503
    assert (b"retry-after", b"1") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["reason"] == "unavailable"


@pytest.mark.parametrize(("status", "becomes"), [(500, 503), (503, 503), (404, 404), (408, 408)])
def test_rays_own_errors_become_problems_and_repeat_no_path(status: int, becomes: int) -> None:
    sent, _ = asked(answering(status, b"text/plain", b"Path /1234567 not found"))
    assert sent[0]["status"] == becomes
    assert dict(sent[0]["headers"])[b"content-type"] == MEDIA_TYPE.encode()
    body: Any = b"".join(m.get("body", b"") for m in sent)
    assert json.loads(body)["status"] == becomes
    assert b"1234567" not in body


def test_a_refused_body_is_read_to_its_end_before_the_answer_ends() -> None:
    """Both by whoever takes in what comes, as Ray's proxy does beside the answer, and with nobody to do so."""
    alone = answering(413, MEDIA_TYPE.encode(), b"{}")

    async def beside(scope: Scope, receive: Receive, send: Send) -> None:
        taking = asyncio.ensure_future(take(receive))
        await alone(scope, receive, send)
        taking.cancel()

    async def take(receive: Receive) -> None:
        while True:
            await receive()

    for app in (alone, beside):
        sent, left = asked(app, [b"x"] * 50)
        assert left == []
        assert [m["type"] for m in sent] == ["http.response.start", *["http.response.body"] * 2]
        assert (sent[1]["body"], sent[2]["left"]) == (b"{}", 0)


def test_an_answer_passes_as_it_is() -> None:
    sent, left = asked(answering(200, b"application/json", b"{}"), [bytes(BLOCK_BYTES), b"y"])
    assert [m.get("body") for m in sent] == [None, b"{}"]
    assert len(left) == 1


def test_a_body_comes_in_blocks_and_to_the_last_byte() -> None:
    pieces = [bytes([number]) * (BLOCK_BYTES // 3) for number in range(1, 9)]
    blocks: list[bytes] = []

    async def takes(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            blocks.append(message["body"])
            if not message["more_body"]:
                break
        await answering(200, b"application/json", b"{}")(scope, receive_nothing, send)

    async def receive_nothing() -> Message:
        return {"type": "http.disconnect"}

    asked(takes, pieces)
    assert b"".join(blocks) == b"".join(pieces)
    assert len(blocks) == 2


def test_a_client_that_goes_away_is_told_at_once() -> None:
    messages: list[Message] = [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]
    found: list[Message] = []

    async def takes(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(await receive())
        await answering(200, b"application/json", b"{}")(scope, receive, send)

    async def receive() -> Message:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(message: Message) -> None:
        pass

    asyncio.run(Edge(takes)({"type": "http", "path": STUDIES, "headers": []}, receive, send))
    assert found == [{"type": "http.disconnect"}]


def test_a_proxy_has_so_many_studies_open_and_no_more() -> None:
    app = answering(200, b"application/json", b"{}")
    sent, left = asked(app, [b"x"] * 5, open_already=AT_ONCE)
    assert (sent[0]["status"], json.loads(sent[1]["body"])["reason"], left) == (503, "queue_full", [])
    assert asked(app, open_already=AT_ONCE - 1)[0][0]["status"] == 200
    assert asked(app, path="/healthz", open_already=AT_ONCE)[0][0]["status"] == 200


def test_who_is_refused_takes_no_place_while_the_body_still_comes() -> None:
    """Else a hundred clients without a key keep everybody out."""
    async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-type", MEDIA_TYPE.encode())]})
        await send({"type": "http.response.body", "body": b"{}"})

    edge, stuck = Edge(refuses), asyncio.Event()
    pieces: list[Message] = [{"type": "http.request", "body": b"PK", "more_body": True}]

    async def receive() -> Message:
        if pieces:
            return pieces.pop()
        await stuck.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pass

    async def scenario() -> None:
        asking = asyncio.ensure_future(edge({"type": "http", "path": STUDIES, "headers": []}, receive, send))
        while not edge._drained:
            await asyncio.sleep(0)
        assert not edge._open
        stuck.set()
        await asking
        assert not edge._drained

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_who_waits_for_a_word_before_the_body_gets_the_whole_answer_at_once() -> None:
    sent, left = asked(answering(200, b"", b""), [b"PK", b"PK"], open_already=AT_ONCE,
                       headers=[(b"expect", b"100-continue")])
    assert (sent[0]["status"], len(left)) == (503, 2)
    assert (b"connection", b"close") in sent[0]["headers"]


def test_a_clients_own_name_for_a_request_goes_no_further() -> None:
    seen: list[Scope] = []

    async def looks(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    asked(looks, headers=[(b"x-request-id", b"1234567"), (b"accept", b"*/*")])
    assert seen[0]["headers"] == [(b"accept", b"*/*")]
