"""What the service answers in place of an estimate: problem details (RFC 9457), each with a reason that stays."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from lvray.errors import EnvironmentFault, LvrayError, Reason, StudyRefused, internal

MEDIA_TYPE = "application/problem+json"
STUDY_REFUSED = 422
REASONS = {400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed",
           406: "not_acceptable", 408: "upload_timeout", 413: str(Reason.TOO_LARGE), 415: "unsupported_media_type",
           429: "too_many_requests", 500: str(Reason.INTERNAL), 503: "unavailable"}
"""Of a status, where nothing says more. A refused study has the reason that rejects tables have (lvray.errors)."""


class Problem(Exception):
    """An answer of that status. detail: a line for people that names no file and nobody."""

    def __init__(self, status: int, detail: str, reason: str | None = None, **headers: str) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers
        self.reason = reason or REASONS.get(status, "error")

    def document(self) -> dict[str, Any]:
        return {"type": "about:blank", "title": HTTPStatus(self.status).phrase, "status": self.status,
                "detail": self.detail, "reason": self.reason}

    def body(self) -> bytes:
        return json.dumps(self.document()).encode()


def busy(detail: str, seconds: int, reason: str = REASONS[503]) -> Problem:
    return Problem(503, detail, reason, **{"Retry-After": str(seconds)})


def of(error: Exception, retry_seconds: int) -> Problem:
    """The problem that an error is. Texts of errors that are not lvray's own may hold ids, and stay out of it."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, StudyRefused):
        return Problem(STUDY_REFUSED, error.detail, str(error.reason))
    if isinstance(error, MemoryError):
        return Problem(STUDY_REFUSED, "reading it takes absurdly much memory; is a file damaged?",
                       str(Reason.TOO_LARGE))
    if isinstance(error, EnvironmentFault):
        return busy(str(error), retry_seconds)
    return Problem(500, str(error) if isinstance(error, LvrayError) else internal(error))
