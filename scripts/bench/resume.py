"""What a checkpoint costs, and how soon a killed run takes its next step.

    python -m scripts.bench.resume [--rounds 5] [--kills 3]

The checkpoint: of the paper's two networks with their optimisers, to disk and to an S3 on this machine, by turns with
torch.save to disk. "held": the time for which training waits; "whole": until the checkpoint is committed. The kill:
SIGKILL of the one worker of a run of the command on small phantomless rows (Ray, local), from the signal to the next
step told that the run had not done before. Tables on stdout, whose last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lvray import recipes
from lvray.jobs import checkpoints, state
from lvray.jobs.state import Progress, State
from lvray.nets.build import build
from lvray.nets.step import Mode, optimiser_of, ready
from lvray.settings import Recipe
from scripts.bench.rounds import spread
from scripts.bench.weed import weed
from tests.chaos import processes
from tests.jobs.conftest import SMALL, tiny_dataset

CPU = torch.device("cpu")
MODE = Mode("fp32", True, False)
EPOCHS = 4000
"""More than the kills need."""


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--kills", type=int, default=3)
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder, weed(Path(folder) / "weed"):
        costs = {recipe.name: costs_of(recipe, folder, options.rounds)
                 for recipe in (recipes.paper_seg(), recipes.paper_reg())}
        seconds = kills(Path(folder), options.kills)
    print(f"{'checkpoint':32} {'held, ms':>24} {'whole, ms':>24}")
    for name, ways in costs.items():
        for way, taken in ways.items():
            print(f"{name + ', ' + way:32}" + "".join(f"{1e3 * s.median:9.1f} ({1e3 * s.low:.1f} to {1e3 * s.high:.1f})"
                                                      for s in map(spread, taken.values())))
    waited = spread(seconds)
    print(f"from SIGKILL of the worker to the next new step: {waited.median:.1f} s"
          f" ({waited.low:.1f} to {waited.high:.1f})")
    held = {name: asdict(spread([usual / ours for usual, ours in zip(ways["torch.save"]["held"], ways["disk"]["held"],
                                                                     strict=True)])) for name, ways in costs.items()}
    print(json.dumps({"torch_save_over_held": held, "kill_to_step_s": asdict(waited),
                      "costs": {n: {w: {k: asdict(spread(v)) for k, v in t.items()} for w, t in ways.items()}
                                for n, ways in costs.items()}}))


def costs_of(recipe: Recipe, folder: str, rounds: int) -> dict[str, dict[str, list[float]]]:
    """{way: {"held": seconds a round, "whole": ...}}"""
    at = trained(recipe)
    ways: dict[str, Callable[[], tuple[float, float]]] = {
        "disk": lambda: saved(recipe, at, f"{folder}/disk"), "S3": lambda: saved(recipe, at, "s3://lvray/run"),
        "torch.save": lambda: usual(at, Path(folder) / "usual.pt")}
    taken: dict[str, dict[str, list[float]]] = {way: {"held": [], "whole": []} for way in ways}
    for number in range(rounds + 1):
        for way, do in ways.items():
            held, whole = do()
            if number:  # the first round opens connections and folders
                taken[way]["held"].append(held)
                taken[way]["whole"].append(whole)
    return taken


def trained(recipe: Recipe) -> State:
    """After an update, so that the optimiser has its state."""
    network = recipe.network
    model = ready(build(network.kind, network.width, network.box, network.pixel_size), MODE, CPU)
    optimiser = optimiser_of(recipe.optimiser.name, model, recipe.optimiser.lr)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    return State(model, optimiser, Progress(), (1, 7))


def saved(recipe: Recipe, at: State, run: str) -> tuple[float, float]:
    """As jobs/loop.py does it."""
    saver, began = checkpoints.Saver(run, recipe.saving.keep), time.perf_counter()
    saver.start(checkpoints.name(*at.position), state.snapshot(recipe, MODE, at, state.Seen("", [], {}), 1), None)
    held = time.perf_counter() - began
    saver.wait()
    return held, time.perf_counter() - began


def usual(at: State, file: Path) -> tuple[float, float]:
    """A training script's: nothing else goes on meanwhile, and it is on the disk when it returns."""
    began = time.perf_counter()
    with file.open("wb") as out:
        torch.save({"model": at.model.state_dict(), "optimiser": at.optimiser.state_dict()}, out)
        out.flush()
        os.fsync(out.fileno())
    whole = time.perf_counter() - began
    return whole, whole


def kills(folder: Path, count: int) -> list[float]:
    """Seconds from each kill to the next step that the run had not done."""
    dataset, run = tiny_dataset(str(folder / "data")), folder / "run"
    sets = [f"--set={value}" for value in [*SMALL, f"epochs={EPOCHS}", "saving.seconds=0.2", "validate_epochs=50"]]
    command = processes.start("train", "smoke_seg", "--data", dataset.uri, "--run", run, *sets)
    seconds = []
    try:
        for _ in range(count):
            before = reached(run)
            wait_for(run, (before[0] + 2, 0))
            worker = next(pid for pid in processes.workers(command.pid) if "RayTrainWorker" in processes.title(pid))
            os.kill(worker, signal.SIGKILL)
            killed = time.monotonic()
            wait_for(run, (reached(run)[0] + 1, 0))
            seconds.append(time.monotonic() - killed)
    finally:
        started = processes.descendants(command.pid)
        command.kill()
        command.communicate()
        processes.kill(started)
    return seconds


def reached(run: Path) -> tuple[int, int]:
    """The last step in metrics.jsonl."""
    try:
        lines: list[Any] = [json.loads(line) for line in (run / "metrics.jsonl").read_bytes().split(b"\n")[:-1]]
    except FileNotFoundError:
        return 0, 0
    return max(((line["epoch"], line["step"]) for line in lines if "step" in line), default=(0, 0))


def wait_for(run: Path, position: tuple[int, int]) -> None:
    while reached(run) < position:
        time.sleep(0.02)


if __name__ == "__main__":
    main()
