"""Batch inference beside the bare network: the same studies, cores and weights, by turns, round by round.

    lvray phantom --out ukb --participants 100 && lvray tensorize ukb shards
    python -m scripts.bench.predict --src ukb --data shards [--rounds 3]

Bare: the studies as the network sees them lie in memory, and as many processes as lvray has model workers, of as many
threads, do nothing but pass them through it, one at a time, which is the quickest here. lvray: `predict --out --masks`
over the shards and straight from the DICOM, Ray running already, of all studies and of the first quarter: what the
further three quarters took more is the rate that a cohort of thousands comes to, the rest of the time is the start, in
which workers load torch (once for up to 8192 studies). Both are told, and the rate with the start in it. Networks: the
segmenter at fast_seg's size (width 32, 13 x 128 x 128) and at smoke_seg's, untrained. Core-seconds of the parts are
those of the pipeline's own functions, called in one process; what the process tree uses beyond them is Ray's.
Progress on stderr; a table on stdout, whose last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from lvray import recipes
from lvray.jobs import outcomes, pipeline, predict
from lvray.jobs.cluster import cluster
from lvray.jobs.pipeline import Plan, Seen
from lvray.nets.build import build
from lvray.nets.checkpoint import Checkpoint, write
from lvray.nets.predict import Predictor, beside_weights, load
from lvray.nets.step import ENVIRONMENT
from lvray.nets.trained import Shown
from lvray.settings import Predict
from scripts.bench.rounds import Spread, spread

KEY = b"a key for phantoms, whom no hash needs to protect"
NETWORKS = ("fast_seg", "smoke_seg")
AT_LEAST = 0.9
NICENESS = 15
"""Of Ray's workers; so of the bare ones, for a fair share of a machine that has other work."""
RANGES: dict[str, list[float]] = {name: [0.0, 1e6] for name in ("dz_mm", "dy_mm", "dx_mm", "slices", "mass_g")}


@dataclass(frozen=True)
class Turn:
    """Of a command over all studies and over the first quarter: studies a second with the start and without, seconds of
    the start, core-seconds a study without it."""

    whole: float
    rate: float
    start: float
    cores: float


def untrained(recipe: str, folder: Path) -> Path:
    settings = recipes.named(recipe)
    net = settings.network
    torch.manual_seed(0)
    model = build(net.kind, net.width, net.box, net.pixel_size, net.pitch)
    write(folder, Checkpoint(
        settings=settings.model_dump(mode="json"), weights=dict(model.state_dict()),
        optimiser={"state": {}, "param_groups": []}, scheduler={}, epoch=1, step=0, seed=0, data="", version="0",
        mode={}, world=1, trained_on=RANGES, metrics={}))
    return folder


_memory: tuple[Predictor, list[Shown]]


def _hold(checkpoint: Path, studies: list[Shown], threads: int) -> int:
    """In a bare process."""
    global _memory
    os.nice(NICENESS)
    torch.set_num_threads(threads)
    _memory = load(checkpoint), studies
    return _pass_all(1)


def _pass_all(most: int | None = None) -> int:
    predictor, studies = _memory
    with torch.inference_mode():
        for study in studies[:most]:
            predictor.model(torch.from_numpy(study.image)[None, None], torch.tensor([study.spacing]))
    return len(studies[:most])


def bare(sides: list[ProcessPoolExecutor]) -> float:
    """Studies a second of all sides at once."""
    began = time.perf_counter()
    done = sum(turn.result() for turn in [side.submit(_pass_all) for side in sides])
    return done / (time.perf_counter() - began)


def command(src: str, checkpoint: Path, settings: Predict) -> Turn:
    of = len(predict.items_of(predict.source_of(src), KEY)[0])
    few = _taken(src, checkpoint, settings, of // 4)
    everything = _taken(src, checkpoint, settings, of)
    wall, cores = ((all_ - part) / (of - of // 4) for all_, part in zip(everything, few, strict=True))
    return Turn(of / everything[0], 1 / wall, few[0] - wall * (of // 4), cores)


def _taken(src: str, checkpoint: Path, settings: Predict, studies: int) -> tuple[float, float]:
    """Seconds and core-seconds of the command over the first studies."""
    def first(src: Any, key: bytes) -> Any:
        items, dataset = items_of(src, key)
        return items[:studies], dataset

    items_of = predict.items_of
    began, before = time.perf_counter(), tree_seconds()
    vars(predict)["items_of"] = first
    try:
        with tempfile.TemporaryDirectory() as out:
            predict.predict_cohort(src, out, checkpoint=str(checkpoint), key=KEY, settings=settings, masks=True)
    finally:
        vars(predict)["items_of"] = items_of
    return time.perf_counter() - began, tree_seconds() - before


def tree_seconds() -> float:
    """CPU of this process and all below it, those that have ended included."""
    found: dict[int, tuple[int, int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parts = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[int(folder.name)] = int(parts[1]), sum(map(int, parts[11:15]))
    own = {os.getpid()}
    while grown := {pid for pid, (parent, _) in found.items() if parent in own} - own:
        own |= grown
    return sum(found[pid][1] for pid in own) / os.sysconf("SC_CLK_TCK")


def parts(src: str, checkpoint: Path, settings: Predict) -> tuple[dict[str, float], list[Shown]]:
    """Core-seconds a study of reading, network and writing, in this process; and what the network is shown."""
    torch.set_num_threads(settings.threads)
    items, dataset = predict.items_of(predict.source_of(src), KEY)
    predictor = load(checkpoint)
    with tempfile.TemporaryDirectory() as out:
        plan = Plan(beside_weights(predictor), settings, dataset, KEY, out)
        marks = [time.process_time()]
        seen = [one for block in pipeline.together(items, dataset) for one in pipeline.read(block, plan)]
        marks.append(time.process_time())
        arrived = [one for one in seen if isinstance(one, Seen)]
        answers = predictor.masks([one.shown for one in arrived])
        marks.append(time.process_time())
        done = [one for one in pipeline.finish(
            [Seen(one.item, one.names, one.view, one.shown, answer=answer)
             for one, answer in zip(arrived, answers, strict=True)], plan) if isinstance(one, outcomes.Outcome)]
        outcomes.stage(out, done)
        outcomes.publish(out, [one.found for one in done], {})
        marks.append(time.process_time())
    spent = [(after - before) / len(items) for before, after in pairwise(marks)]
    return dict(zip(("reading", "network", "writing"), spent, strict=True)), [one.shown for one in arrived]


def started(checkpoint: Path, studies: list[Shown], settings: Predict,
            stack: ExitStack) -> Iterator[ProcessPoolExecutor]:
    """The bare processes, each with its share in memory, in the environment of a model worker."""
    workers = settings.workers or 1
    for number in range(workers):
        side = stack.enter_context(ProcessPoolExecutor(1, get_context("spawn")))
        own = {name: os.environ.get(name) for name in ENVIRONMENT}
        os.environ |= ENVIRONMENT
        side.submit(_hold, checkpoint, studies[number::workers], settings.threads).result()
        for name, value in own.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        yield side


def bench(network: str, sources: dict[str, str], rounds: int, folder: Path) -> dict[str, Any]:
    checkpoint = untrained(network, folder / network)
    settings = predict.decided(Predict())
    cost = {}
    for name, src in sources.items():
        say(f"{network}: parts, {name}")
        cost[name], studies = parts(src, checkpoint, settings)
    rates: list[float] = []
    turns: dict[str, list[Turn]] = {name: [] for name in sources}
    with ExitStack() as stack:
        sides = list(started(checkpoint, studies, settings, stack))
        for number in range(rounds):
            say(f"{network}: round {number + 1} of {rounds}")
            rates.append(bare(sides))
            for name, src in sources.items():
                turns[name].append(command(src, checkpoint, settings))
    return show(network, rates, turns, cost, len(studies))


def show(network: str, rates: list[float], turns: dict[str, list[Turn]], cost: dict[str, dict[str, float]],
         studies: int) -> dict[str, Any]:
    """Prints a network's table -> its part of the JSON object."""
    alone = spread(rates)
    print(f"\n{network}, {studies} studies\nbare network: {text(alone)} studies/s")
    result: dict[str, Any] = {"bare": asdict(alone), "studies": studies}
    for name, taken in turns.items():
        share = spread([turn.rate / rate for turn, rate in zip(taken, rates, strict=True)])
        start = spread([turn.start for turn in taken])
        rest = spread([turn.cores - sum(cost[name].values()) for turn in taken])
        whole = spread([turn.whole / rate for turn, rate in zip(taken, rates, strict=True)])
        print(f"lvray, {name}: {text(spread([turn.rate for turn in taken]))} studies/s, {text(share)} of the bare"
              f" network's; with the start of {text(start)} s {text(whole)}; core-seconds a study: "
              + ", ".join(f"{part} {seconds:.3f}" for part, seconds in cost[name].items()) + f", Ray {text(rest)}")
        result[name] = {"share": asdict(share), "share_with_start": asdict(whole), "start_seconds": asdict(start),
                        "core_seconds": cost[name], "ray_core_seconds": asdict(rest),
                        "holds": share.median >= AT_LEAST}
    return result


def text(found: Spread) -> str:
    return f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})"


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--src", help="DICOM; without it the shards alone")
    asked.add_argument("--data", required=True, help="the data set made of it")
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    args = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder, cluster():
        sources = {"shards": args.data, **({"DICOM": args.src} if args.src else {})}
        found = {network: bench(network, sources, args.rounds, Path(folder))
                 for network in args.networks}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
