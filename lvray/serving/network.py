"""A replica that holds one network: what it is shown in, its answers out, many studies a pass."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import ray
import torch
from ray import serve

from lvray.errors import CheckpointError, internal
from lvray.nets.predict import Predictor, beside_weights, load
from lvray.nets.step import deterministic
from lvray.nets.trained import Drawn, Shown, Trained
from lvray.serving.listening import on_the_nodes_address_alone
from lvray.serving.messages import Asked, Reply, cut_of
from lvray.settings import Serve
from lvray.shards.folders import local

GPU_BATCH = 8

log = logging.getLogger("ray.serve")


def fetch(checkpoint: str) -> Predictor:
    """CheckpointError, EnvironmentFault."""
    with local(checkpoint, "the checkpoint") as folder:
        return load(folder)


class Network:
    """kind: "reg" or "seg"."""

    def __init__(self, kind: str, settings: Serve) -> None:
        on_the_nodes_address_alone()
        self._kind, self._device = kind, torch.device("cuda" if ray.get_gpu_ids() else "cpu")
        torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32
        deterministic(self._device)
        self._thread = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(settings.threads,))
        batch = settings.batch or (GPU_BATCH if self._device.type == "cuda" else 1)
        answer: Any = self.answer
        answer.set_max_batch_size(batch)
        answer.set_batch_wait_timeout_s(settings.batch_wait_ms / 1000 if batch > 1 else 0)

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Ray Serve calls it at the start and whenever user_config changes: {"checkpoint": URI}. The version before
        goes on answering until the new one has passed a blank study; one that cannot is never taken in."""
        self._predictor = await self._threaded(self._loaded, config["checkpoint"])

    def _loaded(self, checkpoint: str) -> Predictor:
        found = fetch(checkpoint)
        if found.network["kind"] != self._kind:
            raise CheckpointError(f"the checkpoint holds a network of kind {found.network['kind']}, not {self._kind}")
        found = replace(found, model=found.model.to(self._device))
        slices, rows, columns = found.network["box"]
        blank = np.zeros((slices, rows, columns), np.float32)
        _pass(found, [found.shown(blank, (10.0, 1.8, 1.8), (rows / 2, columns / 2))])
        return found

    async def trained(self) -> Trained:
        return beside_weights(self._predictor)

    @serve.batch(max_batch_size=1)
    async def answer(self, asked: list[Asked]) -> list[Reply]:
        predictor = self._predictor
        by = beside_weights(predictor)
        fit = [one.shown for one in asked if one.cut == cut_of(by)]
        try:
            answers = iter(await self._threaded(_pass, predictor, fit) if fit else [])
        except Exception as error:
            log.error(internal(error))
            return [Reply(by, fault=internal(error)) for _ in asked]
        replies = [Reply(by, next(answers)) if one.cut == cut_of(by) else Reply(by) for one in asked]
        return [replace(replies[0], studies=len(fit)), *replies[1:]]

    async def _threaded(self, work: Any, *args: object) -> Any:
        """Beside the event loop, which goes on telling Ray that this replica lives."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)


def _pass(predictor: Predictor, studies: list[Shown]) -> list[Drawn] | list[float]:
    see = predictor.masses if predictor.network["kind"] == "reg" else predictor.masks
    return see(studies, len(studies))
