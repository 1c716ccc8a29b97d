"""The page: its files, and a phantom to try it with. What it holds is the same for all, so none of it wants a key."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Response

from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write_participant

FILES = {"/": ("index.html", "text/html"), "/page.js": ("page.js", "text/javascript"),
         "/page.css": ("page.css", "text/css")}
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src data: blob:; connect-src 'self';"
          " base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
"""Nothing is loaded from elsewhere, and nothing goes elsewhere (CSP 3)."""
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
           "Cache-Control": "no-cache"}
PHANTOM_SEED = 2021
"""Of nobody whom the demo trains with."""


def add(router: APIRouter) -> None:
    for path, (name, kind) in FILES.items():
        router.add_api_route(path, _giving((files(__package__) / "page" / name).read_bytes(), kind),
                             methods=["GET", "HEAD"], include_in_schema=False)

    @router.get("/phantom.zip", summary="A study of an invented heart, to try the service with.",
                response_class=Response, responses={200: {"content": {"application/zip": {}}}})
    def phantom() -> Response:
        return Response(phantom_zip(), media_type="application/zip", headers=HEADERS)


@cache
def phantom_zip() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write_participant(Path(folder), PHANTOM_SEED, 0, PhantomOptions()).read_bytes()


def _giving(content: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def give() -> Response:
        return Response(content, media_type=kind, headers=HEADERS)

    return give
