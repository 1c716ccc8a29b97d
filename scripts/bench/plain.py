"""The service as one would write it by hand: FastAPI and torch in each process, no Ray. uvicorn scripts.bench.plain:api

PLAIN_CHECKPOINT names the checkpoint. A study at a time in each process, beside its event loop.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool

from lvray.nets.predict import load
from scripts.bench.plain_work import answer

thread = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
predictor = load(Path(os.environ["PLAIN_CHECKPOINT"]))
api = FastAPI()


@api.post("/v1/estimate")
async def estimate(request: Request) -> dict[str, Any]:
    body = await request.body()
    return await run_in_threadpool(lambda: thread.submit(answer, body, predictor).result())
