"""The documents that the service takes and gives, for its OpenAPI description, with examples."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lvray.serving.intake import FORM_TYPE, JSON_TYPE
from lvray.serving.problems import MEDIA_TYPE, REASONS


class Document(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NetworkVersion(Document):
    kind: str = Field(examples=["seg"])
    recipe: str = Field(examples=["fast_seg"])
    weights: str = Field(description="First 16 digits of the weights' sha256: the version.",
                         examples=["8d3f6a50c1b2e947"])


class Outline(Document):
    endo: list[tuple[float, float]] | None = Field(description="[x, y] in pixels; none where the slice has no cavity.")
    epi: list[tuple[float, float]] | None


class Picture(Document):
    spacing_mm: tuple[float, float] = Field(description="Of rows, of columns.", examples=[[1.83, 1.83]])
    slices: list[str] = Field(description="PNG of 8 bits, base to apex, at ED, as data: URIs.")
    contours: list[Outline]
    words: dict[str, str] = Field(description="What each flag of `quality` means.",
                                  examples=[{"phantom": "images of a phantom, not of a person"}])


class Estimate(Document):
    """LV mass of one study, as `lvray predict --json` tells it. null: not known."""

    method: str = Field(description="The network: a segmenter's mask weighed, or a regressor's answer.",
                        examples=["ML4Hseg"])
    mass_g: float = Field(examples=[95.6])
    centred_g: float | None = Field(description="mass_g less the network's bias: the middle of interval_g.",
                                    examples=[96.2])
    interval_g: tuple[float, float] | None = Field(examples=[[80.1, 112.4]])
    interval_level: float | None = Field(examples=[0.9])
    lvmi_g_m2: float | None = Field(examples=[50.2])
    ed_phase: int = Field(description="From 1.", examples=[1])
    ed_instances: list[int] = Field(description="InstanceNumbers of the images that the mass comes from, base to apex.")
    stack_instances: list[int | None] = Field(description="InstanceNumbers of all slices at ED, base to apex: areas are"
                                              " of these.")
    spacing_mm: tuple[float, float, float] = Field(examples=[[10.0, 1.83, 1.83]])
    slices: int = Field(description="That the mass comes from.", examples=[10])
    edv_ml: float | None = Field(examples=[121.3])
    esv_ml: float | None
    ef: float | None
    cavity_mm2: list[float] | None = Field(description="Area in every slice, as in stack_instances.")
    myocardium_mm2: list[float] | None = Field(description="The same of the wall.")
    agreement: float | None = Field(description="How far the network draws the same wall in the turned and mirrored"
                                    " study, 0 to 1.", examples=[0.93])
    quality: list[str] = Field(description="What to know before trusting it; view=true adds it in words.",
                               examples=[["wide_pitch"]])
    network: NetworkVersion
    versions: dict[str, str] = Field(examples=[{"lvray": "0.1.0"}])
    view: Picture | None = Field(None, description="With view=true.")


class Refused(Document):
    refused: str = Field(examples=["too_many_slices"])
    detail: str


class Both(Document):
    """With network=both."""

    seg: Estimate | Refused
    reg: Estimate | Refused
    view: Picture | None = None


class Model(Document):
    kind: str = Field(examples=["seg"])
    recipe: str = Field(examples=["fast_seg"])
    weights: str = Field(examples=["8d3f6a50c1b2e947"])
    lvray: str = Field(description="Version that it was trained with.", examples=["0.1.0"])
    for_show: bool = Field(description="Weights for demonstration: every estimate says so.")
    box: tuple[int, int, int] = Field(examples=[[13, 128, 128]])
    trained_on: dict[str, tuple[float, float]] = Field(examples=[{"dz_mm": [9.9, 10.1]}])
    interval_level: float | None = Field(examples=[0.9])


class Models(Document):
    models: list[Model]


class Problem(Document):
    """RFC 9457."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["a slice is missing, or one is too many"])
    reason: str = Field(description="Stable: of a study, a reason of lvray's rejects tables.",
                        examples=["missing_slice"])


WHEN = {400: "Not a zip, a damaged form, wrong JSON or query", 401: "No API key, or a wrong one",
        403: "A URI outside the allowed prefixes; without keys, whoever is not on this machine",
        404: "No zip at that URI", 406: "No such form of an answer",
        408: "The upload took too long", 413: "Too large", 415: "Another content type",
        422: "The study cannot be trusted", 429: "Too many requests with this key", 500: "lvray failed",
        503: "Busy, or a store is away: see Retry-After"}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` for these statuses."""
    return {status: {"description": WHEN[status], "headers": _headers(status),
                     "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema(), "example": _example(status)}}}
            for status in statuses}


def _headers(status: int) -> dict[str, Any]:
    name = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}.get(status)
    return {name: {"schema": {"type": "string" if status == 401 else "integer"}}} if name else {}


def _example(status: int) -> dict[str, Any]:
    reason = REASONS.get(status, "missing_slice")
    return {"type": "about:blank", "title": WHEN[status], "status": status, "detail": WHEN[status], "reason": reason}


BINARY = {"type": "string", "format": "binary"}
FILES: dict[int | str, dict[str, Any]] = {200: {"description": "The estimate, in the form asked for", "content": {
    kind: {"schema": BINARY} for kind in ("application/dicom", "image/png", "application/gzip")}}}
"""What answers an operation beside JSON."""
BODY = {"requestBody": {"required": True, "content": {
    "application/zip": {"schema": BINARY},
    FORM_TYPE: {"schema": {"type": "object", "properties": {"study": BINARY}, "required": ["study"]}},
    JSON_TYPE: {"schema": {"type": "object", "properties": {"uri": {"type": "string"}}, "required": ["uri"],
                           "additionalProperties": False}, "example": {"uri": "s3://bucket/studies/a.zip"}}}}}
"""Of the operation that takes a study; FastAPI would describe, and read, a form alone."""
