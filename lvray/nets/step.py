"""One training step: gradients of this worker's rows, summed over the workers, one update."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lvray.nets.batch import Batch
from lvray.nets.losses import cross_entropy, log_cosh

ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 34), "MALLOC_ARENA_MAX": "1"}
"""Of a process that trains on a CPU, from its start on. glibc hands every large tensor back to the kernel and has it
anew page by page, a third of a step's time; so it keeps what a step needs. (mallopt(3); elsewhere without effect.)"""
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
OPTIMISERS: dict[str, Any] = {"adam": torch.optim.Adam, "radam": torch.optim.RAdam}


@dataclass(frozen=True)
class Mode:
    """How a step is computed. Weights, losses and the optimiser are fp32 in every mode."""

    precision: Literal["fp32", "bf16"]
    """Of convolutions and feature maps."""
    channels_last: bool
    """Memory format of the weights, and so of the feature maps."""
    compile: bool


@dataclass(frozen=True)
class Stepped:
    """Of one step: the global batch's mean loss, and its gradient's norm before clipping."""

    loss: float
    norm: float

    @property
    def finite(self) -> bool:
        """Whether both are; where not, the weights were left as they were."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)


def ready(model: nn.Module, mode: Mode, device: torch.device) -> nn.Module:
    """The model itself, moved to the device, laid out and compiled as the mode says. Before the optimiser is made."""
    format = torch.channels_last_3d if mode.channels_last else torch.contiguous_format
    model.to(device, memory_format=format)  # type: ignore[call-overload]
    if mode.compile:
        model.compile(dynamic=False)  # code for each shape alone, whatever came before
    return model


def deterministic(device: torch.device) -> None:
    """Same input, same bits, from here on in this process. On a CPU that is so anyway, given the number of threads."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA first multiplies
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def optimiser_of(name: str, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """"adam" or "radam" over all weights, with torch's other defaults. Adam is the fused one: the same update in one
    pass over the weights."""
    fused = {"fused": True} if name == "adam" else {}
    made: torch.optim.Optimizer = OPTIMISERS[name](model.parameters(), lr=lr, **fused)
    return made


def row_losses(kind: str, model: nn.Module, batch: Batch, mode: Mode) -> Tensor:
    """float32 [B]: log-cosh of the regressor ("reg"), mean cross-entropy of the segmenter ("seg")."""
    out = model(batch.image.to(PRECISIONS[mode.precision]), batch.spacing)
    return cross_entropy(out, batch.target) if kind == "seg" else log_cosh(out, batch.target)


def train_step(kind: str, model: nn.Module, optimiser: torch.optim.Optimizer, batch: Batch, mode: Mode, *,
               batch_rows: int, clip: float | None = None, accumulate: int = 1) -> Stepped:
    """One update from this worker's rows, at least one, of a global batch of batch_rows.

    clip: greatest norm of the gradient, a longer one is scaled down to it; accumulate: passes that the rows are cut
    into. A loss or a gradient that is not finite leaves weights and optimiser as they were.
    """
    optimiser.zero_grad()
    loss = backward(kind, model, batch, mode, batch_rows=batch_rows, accumulate=accumulate)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    sum_over_workers([*gradients, loss])
    norm = torch.nn.utils.get_total_norm(gradients)
    done = Stepped(*torch.stack((loss, norm)).tolist())
    if done.finite:
        if clip is not None and done.norm > clip:
            torch._foreach_mul_(gradients, clip / done.norm)
        optimiser.step()
    return done


def backward(kind: str, model: nn.Module, batch: Batch, mode: Mode, *, batch_rows: int, accumulate: int = 1) -> Tensor:
    """Adds the gradient of these rows' losses over batch_rows to the weights'; -> that sum. This worker alone."""
    loss = torch.zeros((), device=batch.image.device)
    for part in _passes(batch, accumulate):
        share = row_losses(kind, model, part, mode).sum() / batch_rows
        share.backward()
        loss += share.detach()
    return loss


def sum_over_workers(values: Sequence[Tensor]) -> None:
    """Add up each tensor over all workers, in place, by one all-reduce whose layout is always the same: the sums of a
    resumed run are the same bits. (DistributedDataParallel lays its buckets out anew after the first step.)"""
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return
    flat = torch.cat([value.reshape(-1) for value in values])
    torch.distributed.all_reduce(flat)
    for value, part in zip(values, flat.split([value.numel() for value in values]), strict=True):
        value.copy_(part.view_as(value))


def _passes(batch: Batch, passes: int) -> Iterator[Batch]:
    """The rows in so many parts of equal size, or nearly; fewer parts than passes where there are fewer rows."""
    passes = min(passes, len(batch.numbers))
    cuts = [len(batch.numbers) * i // passes for i in range(passes + 1)]
    for rows in map(slice, cuts, cuts[1:]):
        yield Batch(batch.image[rows], batch.spacing[rows], batch.target[rows], batch.numbers[rows])
