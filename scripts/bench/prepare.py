"""What a row costs on its way from the shards to the network, beside the usual way, in one thread.

    python -m scripts.bench.prepare [--device cuda]

A row of int16 11x200x204 with its mask, in batches of 4 for the paper's box of 13x256x256. The usual way has the same
box, intensities, turn, scale, shift, gamma and noise by numpy and scipy.ndimage, as batchgenerators does it. By turns,
round by round; about 20 s. CPU time of the process is a row's; with --device, also the time until the device is done.
Tables on stdout, whose last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any, Literal

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import numpy as np
import torch
from scipy import ndimage

from lvray import recipes
from lvray.jobs.prepare import Raw, collate, finish
from lvray.nets.augment import Draw, draw
from lvray.settings import Recipe
from lvray.shards.schema import Row

BATCH = 4
SHAPE = (11, 200, 204)
NUMBERS = list(range(BATCH))


def rows() -> list[Row]:
    rng = np.random.default_rng(0)
    return [Row(participant="", study="", source="", given="", split="train", spacing=(10.0, 1.8, 1.8), ed_phase=1,
                affine=np.eye(4), image=rng.gamma(2, 80, SHAPE).astype(np.int16),
                mask=rng.integers(0, 3, SHAPE, np.uint8)) for _ in NUMBERS]


def usual_box(recipe: Recipe, given: list[Row]) -> list[tuple[Any, Any]]:
    """np.percentile and np.pad."""
    made = []
    for row in given:
        values = row.image.astype(np.float32)
        values = values.clip(*np.percentile(values, (1, 99.5)).astype(np.float32))
        values = (values - values.mean()) / values.std()
        room = [b - n for b, n in zip(recipe.network.box, SHAPE, strict=True)]
        pad = [(0, room[0]), *((r // 2, r - r // 2) for r in room[1:])]
        assert row.mask is not None
        made.append((np.pad(values, pad), np.pad(row.mask, pad)))
    return made


def usual_augmentation(boxes: list[tuple[Any, Any]]) -> None:
    for number, (image, mask) in enumerate(boxes):
        drawn = draw(0, 0, number)
        moved, _ = _turned(image, 1, drawn), _turned(mask, 0, drawn)
        low, span = moved.min(), np.ptp(moved)
        curved = low + span * ((moved - low) / span) ** np.float32(drawn.gamma)
        noise = np.random.default_rng(drawn.noise_seed).standard_normal(moved.shape, np.float32)
        np.where(moved == 0, 0, drawn.gain * curved + drawn.offset + drawn.noise * noise)


def _turned(volume: Any, order: Literal[0, 1], drawn: Draw) -> Any:
    cos, sin = (f(math.radians(drawn.angle)) / drawn.scale for f in (math.cos, math.sin))
    matrix, middle = np.array([[cos, sin], [-sin, cos]]), (np.array(volume.shape[1:]) - 1) / 2
    offset = middle - matrix @ middle + (drawn.shift_y, drawn.shift_x)
    return np.stack([ndimage.affine_transform(plane, matrix, offset, order=order) for plane in volume])


def timed(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """CPU and wall ms a row, the device's work included."""
    began = time.process_time(), time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return tuple(1e3 * (now - then) / BATCH  # type: ignore[return-value]
                 for now, then in zip((time.process_time(), time.perf_counter()), began, strict=True))


def bench(recipe: Recipe, device: torch.device, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """By part: CPU and wall ms a row, a round each."""
    given = rows()
    plain, augmented = (collate(recipe, given, epoch, NUMBERS) for epoch in (None, 0))
    boxes = usual_box(recipe, given)

    def on_device(raw: Raw) -> Callable[[], object]:
        return lambda: finish(recipe, raw, device)

    todo: dict[str, Callable[[], object]] = {
        "collate": lambda: collate(recipe, given, 0, NUMBERS), "usual box": lambda: usual_box(recipe, given),
        "move": on_device(plain), "move, augment": on_device(augmented),
        "usual augment": lambda: usual_augmentation(boxes)}
    for work in todo.values():
        timed(work, device)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in todo}
    for _ in range(rounds):
        for name, work in todo.items():
            found[name].append(timed(work, device))
    return found


def summed(values: list[float]) -> list[float]:
    return [round(f(values), 3) for f in (median, min, max)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--rounds", type=int, default=25)
    args = parser.parse_args()
    torch.set_num_threads(1)
    recipe = recipes.override(recipes.named("paper_seg"), ["augment=true"])
    found = bench(recipe, args.device, args.rounds)
    print(f"{'ms a row':<16}{'CPU median (low to high)':>28}{'wall':>8}")
    result: dict[str, Any] = {"device": str(args.device), "rounds": args.rounds}
    for name, taken in found.items():
        cpu, wall = (summed(list(column)) for column in zip(*taken, strict=True))
        print(f"{name:<16}{f'{cpu[0]:.2f} ({cpu[1]:.2f} to {cpu[2]:.2f})':>28}{wall[0]:>8.2f}")
        result[name] = {"cpu_ms": cpu, "wall_ms": wall}
    for usual, own in (("usual box", "collate"), ("usual augment", "move, augment")):
        ratio = summed([u[0] / o[0] for u, o in zip(found[usual], found[own], strict=True)])
        print(f"{usual} takes {ratio[0]:.1f} ({ratio[1]:.1f} to {ratio[2]:.1f}) times the CPU of {own}")
        result[f"{usual} over {own}"] = ratio
    print(json.dumps(result))


if __name__ == "__main__":
    main()
