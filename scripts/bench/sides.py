"""A side of step.py's comparison, in a process of its own: torch, numpy and lvray.nets, and MONAI for its side.

    python -m scripts.bench.sides SIDE KIND DEVICE BATCH SLICES,ROWS,COLUMNS WIDTH MODE

MODE: lvray's, as JSON, or "auto".
Answers each line of stdin by a line of JSON: "facts" what it is, "time" the seconds of a step, "best" the batch of most
samples/s on a GPU, "peak" the bytes held at most.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from lvray.nets.batch import Batch
from lvray.nets.build import build
from lvray.nets.mode import choose, hardware, sample
from lvray.nets.step import Mode, deterministic, optimiser_of, ready, train_step
from scripts.bench import naive

MONAI_CHANNELS = (16, 32, 64, 128)
"""1.19 million weights, as MONAI's own examples have it; the segmenter has 1.25."""
SECONDS = 0.5
"""Steps on a GPU are repeated so long for one time."""
GROWS = 1.02
LARGEST = 512

Step = Callable[[Batch], object]


@dataclass(frozen=True)
class Case:
    kind: str
    device: torch.device
    batch: int
    box: tuple[int, int, int]
    width: int
    mode: str = "auto"


def plain(case: Case, network: torch.nn.Module, takes_spacing: bool = True) -> tuple[Step, dict[str, Any]]:
    """fp32, contiguous, torch's own loss and Adam."""
    network.to(case.device)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    loss_of = torch.nn.CrossEntropyLoss() if case.kind == "seg" else naive.log_cosh

    def step(batch: Batch) -> float:
        optimiser.zero_grad()
        out = network(batch.image, batch.spacing) if takes_spacing else network(batch.image)
        loss = loss_of(out, batch.target.long() if case.kind == "seg" else batch.target)
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step, {"mode": {"precision": "fp32", "channels_last": False, "compile": False}}


def naive_side(case: Case) -> tuple[Step, dict[str, Any]]:
    return plain(case, naive.Segmenter(case.width) if case.kind == "seg" else naive.Regressor(case.width, case.box))


def monai_side(case: Case) -> tuple[Step, dict[str, Any]]:
    import monai  # type: ignore[import-not-found]
    from monai.networks.nets import UNet  # type: ignore[import-not-found]

    if case.kind != "seg":
        raise ValueError("a segmenter alone")
    network = UNet(spatial_dims=3, in_channels=1, out_channels=3, channels=MONAI_CHANNELS, strides=((1, 2, 2),) * 3,
                   num_res_units=2)
    step, facts = plain(case, network, takes_spacing=False)
    return step, {**facts, "version": monai.__version__}


def lvray_side(case: Case) -> tuple[Step, dict[str, Any]]:
    """In the case's mode, or the one that `choose` takes here; deterministic."""
    deterministic(case.device)
    make = partial(build, case.kind, case.width, case.box, pixel_size=True)
    began = time.perf_counter()
    mode = (choose(case.kind, make, case.box, case.batch, case.device) if case.mode == "auto" else
            Mode(**json.loads(case.mode)))
    took = time.perf_counter() - began
    model = ready(make(), mode, case.device)
    optimiser = optimiser_of("adam", model, 1e-3)

    def step(batch: Batch) -> object:
        return train_step(case.kind, model, optimiser, batch, mode, batch_rows=len(batch.numbers))

    return step, {"mode": asdict(mode), "choosing_seconds": round(took, 1)}


SIDES = {"naive": naive_side, "monai": monai_side, "lvray": lvray_side}


def seconds_of(step: Step, batch: Batch, device: torch.device) -> float:
    if device.type == "cpu":
        began = time.perf_counter()
        step(batch)
        return time.perf_counter() - began
    torch.cuda.synchronize(device)
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        step(batch)
        torch.cuda.synchronize(device)
        steps += 1
    return (time.perf_counter() - began) / steps


def best_batch(step: Step, case: Case) -> dict[str, Any]:
    """Doubled until it gains no more, or does not fit."""
    best: dict[str, Any] = {"batch": 0, "samples_per_second": 0.0, "peak": 0}
    rows = case.batch
    while rows <= LARGEST:
        torch.cuda.reset_peak_memory_stats()
        try:
            batch = sample(case.kind, case.box, rows, case.device)
            step(batch)
            rate = rows / seconds_of(step, batch, case.device)
        except torch.OutOfMemoryError:
            break
        if rate < best["samples_per_second"] * GROWS:
            break
        best = {"batch": rows, "samples_per_second": rate, "peak": torch.cuda.max_memory_allocated()}
        rows *= 2
    return best


def flops(step: Step, case: Case) -> int:
    """Of a row: multiplications and additions of convolutions and matrices, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        step(sample(case.kind, case.box, 1, case.device))
    return int(counter.get_total_flops())


def peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    side, kind, device, batch, box, width, mode = sys.argv[1:]
    slices, rows, columns = map(int, box.split(","))
    case = Case(kind, torch.device(device), int(batch), (slices, rows, columns), int(width), mode)
    torch.manual_seed(0)
    step, facts = SIDES[side](case)
    given = sample(kind, case.box, case.batch, case.device)
    answers: dict[str, Callable[[], Any]] = {
        "facts": lambda: facts | {"hardware": hardware(case.device), "flops": flops(step, case)},
        "time": lambda: seconds_of(step, given, case.device),
        "best": lambda: best_batch(step, case),
        "peak": lambda: peak(case.device)}
    for line in sys.stdin:
        print(json.dumps(answers[line.strip()]()), flush=True)


if __name__ == "__main__":
    main()
