"""A request's body to the bytes of a zip, in memory, within limits of size and time.

A form's files stay in memory too: FastAPI would put them on disk. Their names, which may hold ids, are never looked at.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from lvray.serving.problems import Problem, busy
from lvray.settings import Serve

ZIP_TYPES = ("application/zip", "application/x-zip-compressed", "application/octet-stream")
FORM_TYPE, JSON_TYPE = "multipart/form-data", "application/json"
ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
JSON_BYTES = 64 << 10
HOW = "send the zip itself as the body: curl -H 'Content-Type: application/zip' --data-binary @study.zip URL"

Hold = Callable[[int], None]
"""Takes note of so many more bytes in memory. Problem: there is no room for them now."""


class Held:
    """The bytes of all requests at hand."""

    def __init__(self, limits: Serve) -> None:
        self._limits, self.bytes = limits, 0

    @contextmanager
    def hold(self) -> Iterator[Hold]:
        """For one request: what it has taken note of is free again at its end."""
        mine = 0

        def more(count: int) -> None:
            nonlocal mine
            if self.bytes + count > self._limits.held_mb << 20:
                raise busy("studies at hand fill the memory set aside for them", self._limits.retry_seconds,
                           "memory_full")
            mine += count
            self.bytes += count

        try:
            yield more
        finally:
            self.bytes -= mine


async def taken(request: Request, limits: Serve, hold: Hold) -> bytes | str:
    """The zip in the body, or the URI that its JSON names. Problem: 400, 408, 413, 415, 503."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, f"a body with a Content-Encoding; {HOW}")
    form = _Form(options.get(b"boundary", b"")) if kind == FORM_TYPE.encode() else None
    if form is None and kind.decode("latin-1") not in (*ZIP_TYPES, JSON_TYPE):
        raise Problem(415, f"neither a zip, nor a form, nor JSON; {HOW}")
    try:
        async with asyncio.timeout(limits.upload_seconds):
            body = await _body(request, form, JSON_BYTES if kind == JSON_TYPE.encode() else limits.body_mb << 20, hold)
    except TimeoutError:
        raise Problem(408, f"the upload took more than {limits.upload_seconds:g} s", Connection="close") from None
    except ClientDisconnect:
        raise Problem(400, "the client went away") from None
    if kind == JSON_TYPE.encode():
        return _uri(body)
    if not body.startswith(ZIP_STARTS):
        raise Problem(400, f"the body is not a zip; {HOW}", "not_a_zip")
    return bytes(body)


async def _body(request: Request, form: _Form | None, most: int, hold: Hold) -> bytearray:
    got, body = 0, bytearray()
    _check(int(request.headers.get("content-length", 0)), most)
    async for chunk in request.stream():
        got += len(chunk)
        _check(got, most)
        hold(len(chunk))
        if form is None:
            body += chunk
        else:
            form.feed(chunk)
    return body if form is None else form.file()


def _check(size: int, most: int) -> None:
    if size > most:
        raise Problem(413, f"more than {most >> 10} KiB; send the short axis alone")


def _uri(body: bytearray) -> str:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or list(found) != ["uri"] or not isinstance(found["uri"], str):
        raise Problem(400, 'JSON is to be {"uri": "s3://..."}, a zip that the service can read')
    return str(found["uri"])


class _Form:
    """A form's one file."""

    def __init__(self, boundary: bytes) -> None:
        if not boundary:
            raise Problem(400, "the form names no boundary")
        self._body, self._parts, self._complete = bytearray(), 0, False
        try:
            self._parser = MultipartParser(boundary, {"on_part_begin": self._part, "on_part_data": self._data,
                                                      "on_end": self._end})
        except FormParserError:
            raise Problem(400, "the form's boundary is too long") from None

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise Problem(400, "the form is damaged") from None

    def file(self) -> bytearray:
        if not self._complete:
            raise Problem(400, "the form is cut short, or empty")
        return self._body

    def _part(self) -> None:
        self._parts += 1
        if self._parts > 1:
            raise Problem(400, "the form has more than one part: one file is wanted")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._body += data[start:end]

    def _end(self) -> None:
        self._complete = True
