"""Scale on paper: what the article's trainings take on 1 to 64 GPUs, what limits them, and what Spot makes of it.

    python -m scripts.bench.plan [--rounds 3] [--runs 200] [--check]

Measured here: FLOPs of a row, CPU of the loader on Ray, bytes of a row, of a gradient and of a checkpoint, how long it
holds training, how soon a run goes on after a kill. Taken: everything in GPUS and below it; no GPU was measured. The
arithmetic is scale.py's. Its check: the costs of runs of one worker on this machine's CPUs predict the time of two
workers, who then run, by turns, round by round. About 10 minutes on 2 cores, which should be free. Tables on stdout,
whose last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lvray import recipes
from lvray.jobs.cluster import cluster
from scripts.bench import costs, resume, scale
from scripts.bench.costs import Measured, Trained
from scripts.bench.rounds import spread
from scripts.bench.scale import HOUR, Costs, Job, Machines
from scripts.bench.step import BF16_TFLOPS, say
from scripts.bench.weed import weed


@dataclass(frozen=True)
class Gpu:
    """share: of its bf16 peak that a step reaches; launch_s: what a step takes, however few its rows."""

    machines: Machines
    share: float
    launch_s: float


GPUS = {
    "L4": Gpu(Machines(workers=1, cores=7, network=1.25e9, latency_s=50e-6, store_node=0.6e9, store=5e9,
                       on_demand=1.0, spot=0.4), share=0.15, launch_s=0.01),
    "H100": Gpu(Machines(workers=8, cores=180, network=50e9, latency_s=20e-6, store_node=2.5e9, store=5e9,
                         on_demand=7.0, spot=3.0), share=0.15, launch_s=0.01),
}
"""TAKEN. The L4's node is the one of k8s/: one GPU, 7 cores for the pod, 10 Gbit/s. Prices are placeholders."""
PARTICIPANTS = {"paper_seg": 33_071, "paper_reg": 3_178}
"""The article's training people."""
VALIDATE = 0.1
"""TAKEN: of them, set apart for validation."""
FORWARD = 1 / 3
"""Of a training step's FLOPs."""
REPLACE_S = 240.0
"""TAKEN: from a reclaim until the new node's worker is there."""
HOURLY = (0.02, 0.1, 0.5)
"""TAKEN: reclaims an hour and GPU."""
WORKERS = (1, 2, 4, 8, 16, 32, 64)
RECIPE_BATCH = 4
SPOT_WORKERS = (4, 16, 64)
SEED = 1


def costs_on(gpu: Gpu, peak: float, found: Measured, restart_s: float) -> Costs:
    """peak: FLOP/s. One core launches the GPU's work."""
    row_s = found.flop / (peak * gpu.share)
    return Costs(step_s=gpu.launch_s, row_s=row_s, validation_row_s=gpu.launch_s * FORWARD + row_s * FORWARD,
                 step_cpu_s=gpu.launch_s, row_cpu_s=0.0, loader_cpu_s=found.loader_cpu_s, row_bytes=found.row_bytes,
                 gradient_bytes=found.gradient_bytes, held_s=found.held_s, restart_s=restart_s)


def job(name: str) -> Job:
    recipe, people = recipes.named(name), PARTICIPANTS[name]
    apart = round(people * VALIDATE)
    return Job(people - apart, apart, recipe.epochs, recipe.saving.seconds)


def splits() -> Iterator[tuple[int, int]]:
    """(workers, batch): the recipe's batch as far as it goes, then four rows a worker, which is another recipe."""
    yield from ((workers, RECIPE_BATCH) for workers in WORKERS if workers <= RECIPE_BATCH)
    yield from ((workers, RECIPE_BATCH * workers) for workers in WORKERS if workers > 1)


def planned(of: Costs, machines: Machines, todo: Job, workers: int, batch: int) -> dict[str, Any]:
    """A line of the first table."""
    step, took = scale.step(of, machines, workers, batch), scale.seconds(of, machines, todo, workers, batch)
    alone = scale.seconds(of, machines, todo, 1, RECIPE_BATCH)
    busy = {name: getattr(step, name) / step.seconds for name in ("all_reduce", "loader", "network", "store")}
    return {"gpus": workers, "batch": batch, "step_ms": 1e3 * step.seconds, "rate": batch / step.seconds,
            "hours": took / HOUR, "efficiency": alone / took / workers, "limit": step.limit, **busy,
            "on_demand": took / HOUR * workers * machines.on_demand}


def on_spot(of: Costs, machines: Machines, todo: Job, workers: int, hourly: float, runs: int) -> dict[str, Any]:
    """Means of so many runs, of four rows a worker; fewer workers share the same batch."""
    rng = np.random.default_rng([SEED, workers, round(1000 * hourly)])
    takes = [math.inf, *(scale.seconds(of, machines, todo, left, RECIPE_BATCH * workers)
                         for left in range(1, workers + 1))]
    ends = [scale.reclaimed(takes.__getitem__, workers, hourly, of, todo.save_s, REPLACE_S, rng) for _ in range(runs)]
    hours = [end.seconds / HOUR for end in ends]
    return {"gpus": workers, "hourly": hourly, "hours": float(np.mean(hours)),
            "hours_95": float(np.percentile(hours, 95)), "over_undisturbed": float(np.mean(hours)) * HOUR / takes[-1],
            "reclaims": float(np.mean([end.reclaims for end in ends])),
            "lost_hours": float(np.mean([end.lost for end in ends])) / HOUR,
            "spot": float(np.mean([end.worker_seconds for end in ends])) / HOUR * machines.spot,
            "on_demand": takes[-1] / HOUR * workers * machines.on_demand}


def show(title: str, lines: Sequence[dict[str, Any]], of: Costs, machines: Machines) -> None:
    print(f"\n{title}\n{'GPUs':>5}{'batch':>6}{'ms a step':>11}{'rows/s':>8}{'hours':>9}{'of linear':>10}"
          f"{'all-reduce':>11}{'loader':>8}{'network':>8}{'store':>7}{'  limit':<12}{'$ on demand':>12}")
    for line in lines:
        print(f"{line['gpus']:>5}{line['batch']:>6}{line['step_ms']:>11.1f}{line['rate']:>8.0f}{line['hours']:>9.2f}"
              f"{line['efficiency']:>10.0%}{line['all_reduce']:>11.1%}{line['loader']:>8.0%}{line['network']:>8.1%}"
              f"{line['store']:>7.1%}  {line['limit']:<10}{line['on_demand']:>12.0f}")
    cores, network = machines.cores / machines.workers / of.loader_cpu_s, machines.network / machines.workers
    print(f"The loader would limit a GPU of {cores:.0f} rows/s, its node's network one of {network / of.row_bytes:.0f},"
          f" the store's rate to a node one of {machines.store_node / machines.workers / of.row_bytes:.0f}; the whole"
          f" store {machines.store / of.row_bytes / lines[0]['rate']:.0f} of these.")


def show_spot(lines: Sequence[dict[str, Any]]) -> None:
    print(f"{'GPUs':>5}{'reclaims an hour and GPU':>26}{'reclaims':>10}{'hours, mean (95 %)':>22}{'of undisturbed':>16}"
          f"{'hours lost':>12}{'$ Spot':>9}{'$ on demand':>13}")
    for line in lines:
        span = f"{line['hours']:.2f} ({line['hours_95']:.2f})"
        print(f"{line['gpus']:>5}{line['hourly']:>26}{line['reclaims']:>10.1f}{span:>22}"
              f"{line['over_undisturbed']:>16.3f}{line['lost_hours']:>12.2f}{line['spot']:>9.0f}"
              f"{line['on_demand']:>13.0f}")


def fitted(whole: Trained, half: Trained) -> Costs:
    """Costs of runs of one worker, of two batch sizes, on CPUs, where loader and step share the cores."""
    apart = whole.batch - half.batch
    row_s, row_cpu_s = ((getattr(whole, name) - getattr(half, name)) / apart for name in ("step_s", "cpu_s"))
    return Costs(step_s=whole.step_s - whole.batch * row_s, row_s=row_s, validation_row_s=0.0,
                 step_cpu_s=whole.cpu_s - whole.batch * row_cpu_s, row_cpu_s=row_cpu_s, loader_cpu_s=0.0,
                 row_bytes=0.0, gradient_bytes=0.0, held_s=0.0, restart_s=0.0)


def check(folder: Path, rounds: int) -> Iterator[dict[str, Any]]:
    """Two workers foretold from one, round by round. Ray must be running."""
    cores = os.cpu_count() or 1
    here = Machines(workers=cores, cores=cores, network=math.inf, latency_s=0.0, store_node=math.inf, store=math.inf)
    dataset, rows = costs.hearts(folder / "rows"), Job(costs.ROWS, 0, 1, math.inf)
    todo = ((1, RECIPE_BATCH), (1, RECIPE_BATCH // 2), (2, RECIPE_BATCH))
    for number in range(rounds):
        turn = number % len(todo)
        made = {asked: costs.trained(dataset, folder / f"run-{number}-{asked[0]}-{asked[1]}", *asked)
                for asked in (*todo[turn:], *todo[:turn])}
        one, half, two = (made[asked] for asked in todo)
        of = fitted(one, half)
        epoch = scale.seconds(of, here, rows, 2, RECIPE_BATCH)
        whole = one.whole_s + costs.EPOCHS * (epoch - one.epoch_s)
        yield {"one": asdict(one), "half": asdict(half), "two": asdict(two), "costs": asdict(of),
               "limit": scale.step(of, here, 2, RECIPE_BATCH).limit, "epoch": epoch,
               "epoch_error": epoch / two.epoch_s - 1, "whole": whole, "whole_error": whole / two.whole_s - 1}


def show_check(rounds: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Each round as it comes."""
    print(f"\nOne worker's costs foretell two on this machine's {os.cpu_count()} cores; an epoch of {costs.ROWS} rows,"
          f" seconds\n{'one':>8}{'two, foretold':>15}{'measured':>10}{'error':>8}{'the whole job, foretold':>25}"
          f"{'measured':>10}{'error':>8}  limit", flush=True)
    lines = []
    for line in rounds:
        lines.append(line)
        print(f"{line['one']['epoch_s']:>8.2f}{line['epoch']:>15.2f}{line['two']['epoch_s']:>10.2f}"
              f"{line['epoch_error']:>8.0%}{line['whole']:>25.1f}{line['two']['whole_s']:>10.1f}"
              f"{line['whole_error']:>8.0%}  {line['limit']}", flush=True)
    errors = {name: spread([line[name] for line in lines]) for name in ("epoch_error", "whole_error")}
    print("error: " + ", ".join(f"{name.partition('_')[0]} {of.median:+.0%} ({of.low:+.0%} to {of.high:+.0%})"
                                for name, of in errors.items()))
    return {"rounds": lines, **{name: asdict(of) for name, of in errors.items()}}


def measured(folder: Path, rounds: int) -> tuple[dict[str, Measured], float]:
    """Costs by recipe, printed; seconds from a kill to the next step. Ray must not be running."""
    say("from a kill to the next step")
    restart_s = spread(resume.kills(folder, rounds)).median
    found = {}
    with cluster():
        dataset = costs.data(folder / "full")
        for name in PARTICIPANTS:
            say(f"costs of {name}")
            found[name] = costs.measured(recipes.named(name), dataset, folder / name, rounds)
    print(f"{'measured':<12}{'GFLOP a row':>13}{'loader, CPU ms':>16}{'KB a row':>10}{'gradient, MB':>14}"
          f"{'checkpoint: MB':>16}{'held, ms':>10}{'committed, ms':>15}")
    for name, of in found.items():
        print(f"{name:<12}{of.flop / 1e9:>13.0f}{1e3 * of.loader_cpu_s:>16.1f}{of.row_bytes / 1e3:>10.0f}"
              f"{of.gradient_bytes / 1e6:>14.1f}{of.checkpoint_bytes / 1e6:>16.1f}{1e3 * of.held_s:>10.1f}"
              f"{1e3 * of.committed_s:>15.0f}")
    print(f"from a kill to the next step: {restart_s:.1f} s")
    return found, restart_s


def plan(name: str, called: str, found: Measured, restart_s: float, runs: int) -> dict[str, Any]:
    """Of a recipe on a GPU, printed."""
    gpu, todo = GPUS[called], job(name)
    of = costs_on(gpu, BF16_TFLOPS[called] * 1e12, found, restart_s)
    lines = [planned(of, gpu.machines, todo, *split) for split in splits()]
    spot = [on_spot(of, gpu.machines, todo, workers, hourly, runs) for workers in SPOT_WORKERS for hourly in HOURLY]
    show(f"{name} on {called}: {todo.rows} people, {todo.epochs} epochs", lines, of, gpu.machines)
    show_spot(spot)
    return {"plan": lines, "spot": spot}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--runs", type=int, default=200, help="simulated, of each line on Spot")
    asked.add_argument("--check", action="store_true", help="the check alone")
    options = asked.parse_args()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        if not options.check:
            with weed(Path(folder) / "weed"):
                found, restart_s = measured(Path(folder), options.rounds)
            result = {"measured": {name: asdict(of) for name, of in found.items()}, "restart_s": restart_s,
                      "taken": {called: asdict(gpu) for called, gpu in GPUS.items()},
                      **{f"{name}, {called}": plan(name, called, of, restart_s, options.runs)
                         for name, of in found.items() for called in GPUS}}
        say("one worker, and two")
        with cluster():
            result["check"] = show_check(check(Path(folder) / "check", options.rounds))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
