"""The HTTP interface: what is asked, who may ask, what it is answered with. Errors are problem documents (RFC 9457)."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

import lvray
from lvray.nets.trained import Trained
from lvray.serving import front, problems
from lvray.serving.desk import Desk, Wish
from lvray.serving.documents import BODY, FILES, Both, Estimate, Models
from lvray.serving.documents import problems as described
from lvray.serving.problems import MEDIA_TYPE, Problem

Handler = Callable[[Request], Awaitable[Response]]
BEARER = HTTPBearer(auto_error=False, description="A key; none on loopback.")
PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Of answers, some of which name a patient."""
ALWAYS = (401, 403, 429, 500, 503)
"""What any answer that wants a key may be instead."""
PARAMETERS = {"network", "form", "view"}
log = logging.getLogger("ray.serve")


def web(desk: Desk) -> FastAPI:
    """The application of one reader, with the page at /. No /docs: FastAPI's page loads its scripts from elsewhere."""

    def refusal(error: Exception) -> Response:
        """Never a traceback: Serve would log it, and messages of others' libraries hold file names and ids."""
        if isinstance(error, RequestValidationError):
            error = Problem(400, "; ".join(sorted(map(_wrong, error.errors()))))
        problem = problems.of(error, desk.limits.retry_seconds)
        if problem.status == 500:
            log.error(problem.detail)
        desk.tally.note("refusal", problem.reason)
        return Response(problem.body(), problem.status, problem.headers, MEDIA_TYPE)

    class Told(APIRoute):
        """A route whose every error is answered and counted here."""

        def get_route_handler(self) -> Any:
            handler: Handler = super().get_route_handler()

            async def told(request: Request) -> Response:
                began = time.monotonic()
                try:
                    response = await handler(request)
                except Exception as error:
                    response = refusal(error)
                if self.path == "/v1/estimate":
                    desk.tally.note("stage", "all", time.monotonic() - began)
                    desk.tally.note("request", str(response.status_code))
                return response

            return told

    def admit(request: Request,
              _: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)] = None) -> None:
        who = desk.keys.admit(request.headers.get("authorization"), request.headers.get("host"),
                              request.headers.get("origin"), request.client.host if request.client else None)
        if who is not None:
            desk.rate.take(who)

    api = FastAPI(title="lvray", version=lvray.__version__, docs_url=None, redoc_url=None, redirect_slashes=False,
                  description="LV mass in grams from short-axis cine cardiac MR. Research use only.")
    api.router.route_class = Told
    keyed: dict[str, Any] = {"dependencies": [Depends(admit)]}

    @api.head("/healthz", include_in_schema=False)
    @api.get("/healthz", summary="This process lives.")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @api.head("/readyz", include_in_schema=False)
    @api.get("/readyz", summary="Every network answers.", responses=described(500, 503))
    async def readyz() -> dict[str, str]:
        if not desk.keys.open and not desk.keys.digests():
            raise problems.busy("no API key is set up: nobody can get in", desk.limits.retry_seconds)
        for asker in desk.askers.values():
            await asker.trained()
        return {"status": "ready"}

    @api.get("/v1/models", summary="The networks and their versions.", responses=described(*ALWAYS), **keyed,
             response_model=Models)
    async def models() -> JSONResponse:
        return JSONResponse({"models": [_card(await asker.trained()) for asker in desk.askers.values()]})

    @api.post("/v1/estimate", summary="LV mass of a study.", openapi_extra=BODY, response_model=Estimate | Both,
              responses=FILES | described(400, 401, 403, 404, 406, 408, 413, 415, 422, 429, 500, 503), **keyed)
    async def estimate(
            request: Request,
            network: Annotated[Literal["seg", "reg", "both"] | None,
                               Query(description="By itself the segmenter, where there is one.")] = None,
            form: Annotated[Literal["json", "seg", "sr", "png", "nifti"] | None,
                            Query(description="JSON; DICOM Segmentation; DICOM structured report; a picture of every"
                                              " slice; the mask as NIfTI (.nii.gz). By itself what Accept names, where"
                                              " application/dicom is the segmentation.")] = None,
            view: Annotated[bool, Query(description="Of JSON: pictures and outlines of every slice too.")] = False,
    ) -> Response:
        given = [name for name, _ in request.query_params.multi_items()]
        if wrong := {name for name in given if name not in PARAMETERS or given.count(name) > 1}:
            known = ", ".join(sorted(wrong & PARAMETERS))
            raise Problem(400, f"given more than once: {known}" if known else
                          f"a parameter that is none of {', '.join(sorted(PARAMETERS))}")
        kind, body = await desk.estimate(request, Wish(network, view, form))
        return Response(body, media_type=kind, headers=PRIVATE)

    @api.get("/metrics", summary="Prometheus metrics of all replicas.", **keyed, responses=described(*ALWAYS),
             response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(await desk.tally.text(), media_type=CONTENT_TYPE_LATEST)

    front.add(api.router)

    async def missing(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        allow = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
        return refusal(Problem(error.status_code, str(error.detail), **allow))

    api.add_exception_handler(HTTPException, missing)
    return api


def _wrong(error: Any) -> str:
    """Of a parameter, without what the client sent."""
    expected = error.get("ctx", {}).get("expected")
    return f"wrong: {error['loc'][-1]}" + (f", which is one of {expected}" if expected else "")


def _card(by: Trained) -> dict[str, Any]:
    state, network = by.checkpoint, by.network
    return {"kind": network["kind"], "recipe": state.settings["name"], "weights": by.weights_sha256[:16],
            "lvray": state.version, "for_show": state.settings["for_show"], "box": network["box"],
            "trained_on": state.trained_on, "interval_level": by.intervals["level"] if by.intervals else None}
