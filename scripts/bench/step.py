"""A training step of lvray beside the same network written naively, and beside MONAI's UNet of like size.

    python -m scripts.bench.step [--device cuda] [--monai PYTHON]

Batch 4 of 13x256x256, width 32. Each side is a process of its own; they step by turns, round by round. Naive: fp32,
contiguous, torch.cat, torch's losses and Adam (naive.py). lvray: in the mode that it chooses here; on a CPU also with
the memory allocator as it comes. MONAI: PYTHON is one that has it; without, this one is tried. On a GPU also the batch
of most samples/s. The data wait on the device. 2 CPU cores take about 15 minutes; it runs where torch and numpy
are all there is. Progress on stderr; a table on stdout, whose last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from lvray.nets.step import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]
AT_LEAST = {"amx_bf16": 3.5, "avx512_bf16": 1.8}
"""By CPU flag: what the naive step must take, over what lvray's takes. Elsewhere 1."""
BF16_TFLOPS = {"H100": 989, "H200": 989, "A100": 312, "L40S": 362, "L4": 121, "A10": 125, "V100": 0}
"""Dense bf16 of the makers' data sheets, by a part of the GPU's name (SXM where there are several)."""


class Side:
    """The process of one side."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, what: str) -> Any:
        """ValueError, with the last line that it said: it has ended."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(what + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline()
        if not line:
            assert self._process.stderr
            raise ValueError((self._process.stderr.read().strip().splitlines() or ["ended without a word"])[-1])
        return json.loads(line)


@contextmanager
def started(python: str, side: str, kind: str, args: argparse.Namespace, more: Mapping[str, str],
            mode: str) -> Iterator[Side]:
    command = [python, "-W", "ignore", "-m", "scripts.bench.sides", side, kind, args.device, str(args.batch), args.box,
               str(args.width), mode]
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment = {**bare, "OMP_NUM_THREADS": str(args.threads), "PYTHONPATH": str(ROOT), **more}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=environment) as process:
        try:
            yield Side(process)
        finally:
            process.kill()


def bench(kind: str, args: argparse.Namespace) -> dict[str, Any]:
    """By side: facts, seconds a round, peak bytes; on a GPU "best"; or "error"."""
    on_cpu = args.device == "cpu"
    todo = [("naive", sys.executable, "naive", {}), ("lvray", sys.executable, "lvray", ENVIRONMENT)]
    if on_cpu:
        todo.append(("lvray, allocator as it comes", sys.executable, "lvray", {}))
    if kind == "seg":
        todo.append(("MONAI UNet", args.monai or sys.executable, "monai", {}))
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        sides = {}
        for name, python, side, more in todo:
            say(f"{kind}: {name} gets ready")
            mode = json.dumps(found["lvray"]["mode"]) if "mode" in found.get("lvray", {}) else "auto"
            sides[name] = stack.enter_context(started(python, side, kind, args, more, mode))
            try:
                found[name] = sides[name].ask("facts") | {"seconds": []}
                sides[name].ask("time")  # with what is allocated or loaded at the first step
            except ValueError as error:
                found[name] = {"error": str(error)}
                del sides[name]
        for number in range(args.rounds):
            say(f"{kind}: round {number + 1} of {args.rounds}")
            for name, running in sides.items():
                found[name]["seconds"].append(running.ask("time"))
        for name, running in sides.items():
            found[name]["peak"] = running.ask("peak")
            if not on_cpu:
                found[name]["best"] = running.ask("best")
    return found


def spread(values: list[float]) -> list[float]:
    """Median, lowest, highest."""
    return [round(f(values), 3) for f in (median, min, max)]


def ratio(found: dict[str, Any], over: str) -> list[float]:
    """How many times lvray's seconds the side takes, round by round."""
    return spread([a / b for a, b in zip(found[over]["seconds"], found["lvray"]["seconds"], strict=True)])


def roofline(facts: dict[str, Any]) -> float | None:
    """bf16 FLOP/s of the GPU; None: not known, or no GPU."""
    peaks = [tflops for name, tflops in BF16_TFLOPS.items() if name in facts["hardware"].get("gpu", "")]
    return peaks[0] * 1e12 if peaks and peaks[0] else None


def show(kind: str, found: dict[str, Any], batch: int) -> dict[str, Any]:
    """Prints the table of a network -> its part of the JSON object."""
    print(f"\n{'segmenter' if kind == 'seg' else 'regressor':<30}{'s a step':>10}{'samples/s':>11}{'GFLOP/s':>9}"
          f"{'peak MB':>9}   time over lvray's, median (low to high)")
    result: dict[str, Any] = {}
    for name, side in found.items():
        if "error" in side:
            print(f"{name:<30}does not run: {side['error']}")
            result[name] = side
            continue
        seconds, over = spread(side["seconds"]), ratio(found, name)
        speed = side["flops"] * batch / seconds[0]
        print(f"{name:<30}{seconds[0]:>10.3f}{batch / seconds[0]:>11.2f}{speed / 1e9:>9.0f}"
              f"{side['peak'] / 1e6:>9.0f}   {over[0]:.2f} ({over[1]:.2f} to {over[2]:.2f})")
        result[name] = {"seconds": seconds, "over_lvray": over, "peak_mb": round(side["peak"] / 1e6),
                        "gflop_a_row": round(side["flops"] / 1e9, 1), "mode": side["mode"]}
        result[name] |= {key: side[key] for key in ("version", "choosing_seconds") if key in side}
        if (peak := roofline(side)) is not None:
            result[name]["roofline_share"] = round(speed / peak, 3)
        if "best" in side:
            result[name]["best"] = show_best(side, peak)
    print(f"lvray's mode: {found['lvray']['mode']}")
    return result


def show_best(side: dict[str, Any], peak: float | None) -> dict[str, Any]:
    best = side["best"]
    share = None if peak is None else round(side["flops"] * best["samples_per_second"] / peak, 3)
    print(f"  best batch {best['batch']}: {best['samples_per_second']:.1f} samples/s, {best['peak'] / 1e6:.0f} MB"
          + ("" if share is None else f", {share:.1%} of the bf16 roofline"))
    return {**best, "roofline_share": share}


def verdict(flags: list[str], parts: dict[str, Any]) -> dict[str, bool]:
    """On a CPU: whether each network's step holds what is asked of it, in the median."""
    wanted = next((least for flag, least in AT_LEAST.items() if flag in flags), 1.0)
    return {f"{kind} {what}": bool(holds) for kind, part in parts.items() for what, holds in (
        ("speed", part["naive"]["over_lvray"][0] >= wanted),
        ("memory", part["lvray"]["peak_mb"] <= part["naive"]["peak_mb"]))}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--kinds", nargs="+", choices=("seg", "reg"), default=["seg", "reg"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--box", default="13,256,256")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--monai", metavar="PYTHON", help="a Python that has MONAI")
    args = parser.parse_args()
    measured = {kind: bench(kind, args) for kind in args.kinds}
    hardware = measured[args.kinds[0]]["lvray"]["hardware"]
    print(f"{hardware.get('gpu', hardware['cpu'])}, {hardware['threads']} threads; CPU flags:"
          f" {' '.join(hardware['cpu_flags'])}; torch {hardware['torch']}; batch {args.batch} of {args.box}, width"
          f" {args.width}; {args.rounds} rounds")
    parts = {kind: show(kind, found, args.batch) for kind, found in measured.items()}
    result = {"device": args.device, "hardware": hardware, "batch": args.batch, "box": args.box, **parts}
    if args.device == "cpu":
        result["holds"] = verdict(hardware["cpu_flags"], parts)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
