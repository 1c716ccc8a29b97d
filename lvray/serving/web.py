"""The HTTP interface: what is asked, how much is taken, which status answers. Errors are JSON, {"detail": one line}.

Serve copies the routes into its replicas as `ingress` meets them: so `_zip` stands above, and annotations are real
types, not strings that would have no names to look up there.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import torch
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from ray import serve

import lvray
from lvray.serving.model import Model

MAX_BYTES = 512 << 20
"""Of an upload. A short axis of UK Biobank with 13 slices and 50 phases is about 100 MB."""
ZIP_TYPES = ("application/zip", "application/x-zip-compressed", "application/octet-stream")
ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
HOW = "send the zip itself as the body: curl -H 'Content-Type: application/zip' --data-binary @study.zip URL"

# No /docs: FastAPI's page loads its scripts from elsewhere.
api = FastAPI(title="lvray", version=lvray.__version__, docs_url=None, redoc_url=None)


async def _zip(request: Request) -> bytes:
    """The body, once it is known to be a zip of at most MAX_BYTES."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ZIP_TYPES:
        raise HTTPException(415, f"not application/zip; {HOW}")
    declared = int(request.headers.get("content-length", 0))
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if max(declared, len(body)) > MAX_BYTES:
            raise HTTPException(413, f"more than {MAX_BYTES >> 20} MiB; send the short axis alone")
    if not body.startswith(ZIP_STARTS):
        raise HTTPException(400, f"the body is not a zip; {HOW}")
    return bytes(body)


@serve.ingress(api)
class Web:
    """A replica: it reads one study after the other, in memory, while it goes on answering.

    A study is the raw body, not a multipart form: a form brings a file name, which may hold the participant's id, and
    FastAPI keeps its files on disk. Nor does a study go to another process whole: Ray's object store, which carries
    arguments, spills them to disk when it fills.
    """

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._worker = ThreadPoolExecutor(1)

    def reconfigure(self, config: dict[str, str]) -> None:
        """Serve calls it at the start and whenever user_config changes: {"checkpoint": URI}."""
        self._model = Model(config["checkpoint"])

    @api.get("/healthz")
    async def healthz(self) -> dict[str, str]:
        return {"status": "ok"}

    @api.post("/v1/estimate")
    async def estimate(self, request: Request) -> JSONResponse:
        """LV mass of the study in a zip: the JSON of `lvray predict`."""
        study = await _zip(request)
        status, answer = await asyncio.get_running_loop().run_in_executor(self._worker, self._model.estimate, study)
        return JSONResponse(answer, status)
