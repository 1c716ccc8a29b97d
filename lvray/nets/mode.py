"""How steps are computed fastest on this machine: a short measurement, and a decision that knows no clock."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from lvray.nets.batch import Batch
from lvray.nets.step import Mode, backward, ready

CLEARLY = 1.15
"""A mode must be so many times as fast as a plainer one to be taken instead: noise is less."""
STEPS, SECONDS = 2, 0.5
"""Timed for each mode: at least so many steps and so long, after one that warms up. The fastest counts."""
BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
"""Of CPUs that multiply bf16 numbers (the last one: ARM's). Elsewhere bf16 is slower than fp32."""
CPU_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", *BF16_FLAGS)

Auto = Literal["auto"]
Precision = Literal["fp32", "bf16"]


def choose(kind: str, make: Callable[[], nn.Module], box: tuple[int, int, int], rows: int, device: torch.device, *,
           precision: Auto | Precision = "auto", channels_last: Auto | bool = "auto",
           compile: Auto | bool = "auto") -> Mode:
    """The mode for steps of so many rows of this box; what is not "auto" stays as it is. Seconds, or no time if
    nothing is "auto". make: the network, its weights do not matter.

    Measured are the plain mode, channels last, bf16 with channels last, where there are units for it, and the best
    of them compiled. On a CPU one row is enough, and compiling, which takes minutes there, is left out. This worker
    alone; torch's random numbers stay as they were.
    """
    on_cpu = device.type == "cpu"
    rungs: list[tuple[Precision, bool]] = [("fp32", False), ("fp32", True)]
    rungs += [("bf16", True)] if has_bf16(device) else []
    modes = dict.fromkeys(Mode(p if precision == "auto" else precision, c if channels_last == "auto" else channels_last,
                               compile is True) for p, c in rungs)
    batch = sample(kind, box, 1 if on_cpu else rows, device)

    @cache
    def seconds(mode: Mode) -> float:
        return _seconds(kind, make, batch, mode, device)

    with torch.random.fork_rng(devices=[] if on_cpu else [device]):
        best = fastest(modes, seconds)
        return best if compile != "auto" or on_cpu else fastest((best, replace(best, compile=True)), seconds)


def fastest(modes: Iterable[Mode], seconds: Callable[[Mode], float]) -> Mode:
    """The first of the modes, plain ones before others, or a later one that is clearly faster than what came before.

    seconds: of a mode's step, infinite where it cannot be done; not asked where there is but one mode.
    """
    best, *others = modes
    for mode in others:
        if seconds(mode) * CLEARLY < seconds(best):
            best = mode
    return best


def sample(kind: str, box: tuple[int, int, int], rows: int, device: torch.device) -> Batch:
    """Noise as a batch, for measurements."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(rows, 1, *box, generator=generator)
    target = (torch.randint(0, 3, (rows, *box), dtype=torch.uint8, generator=generator) if kind == "seg" else
              torch.randn(rows, generator=generator))
    spacing = torch.tensor([[10.0, 1.8, 1.8]]).expand(rows, 3).contiguous()
    return Batch(image.to(device), spacing.to(device), target.to(device), tuple(range(rows)))


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 numbers by itself."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return any(flag in _cpu()[1] for flag in BF16_FLAGS)


def hardware(device: torch.device) -> dict[str, Any]:
    """What a run's speed and last bits depend on, as plain data."""
    name, flags = _cpu()
    facts = {"cpu": name, "cpu_flags": sorted(flags & set(CPU_FLAGS)), "cores": os.cpu_count(),
             "threads": torch.get_num_threads(), "torch": torch.__version__, "device": device.type}
    if device.type == "cuda":
        facts |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda,
                  "cudnn": torch.backends.cudnn.version()}
    return facts


def _cpu() -> tuple[str, frozenset[str]]:
    """Name and flags, as Linux tells them; elsewhere a name alone."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return facts.get("model name", platform.machine()), frozenset(facts.get("flags", facts.get("Features", "")).split())


def _seconds(kind: str, make: Callable[[], nn.Module], batch: Batch, mode: Mode, device: torch.device) -> float:
    """Of the fastest of a few steps, without sum and update, which are the same in every mode. Infinite: it fails, for
    want of memory or of a compiler."""
    try:
        model = ready(make(), mode, device)
        taken = [_step_seconds(kind, model, batch, mode, device)]
        while len(taken) <= STEPS or sum(taken[1:]) < SECONDS:
            taken.append(_step_seconds(kind, model, batch, mode, device))
        return min(taken[1:])
    except RuntimeError:
        return float("inf")


def _step_seconds(kind: str, model: nn.Module, batch: Batch, mode: Mode, device: torch.device) -> float:
    began = time.perf_counter()
    model.zero_grad()
    float(backward(kind, model, batch, mode, batch_rows=len(batch.numbers)))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
