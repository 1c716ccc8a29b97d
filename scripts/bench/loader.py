"""lvray's stream beside other loaders: the same rows from the same S3, each in its own format and process, by turns.

    python -m scripts.bench.loader --work /tmp/bench --rows 960 --rounds 5

A row is an int16 image 13 x 208 x 200 and its uint8 mask, 1.6 MB, 0.4 MB compressed. Every side delivers them decoded
in shuffled batches of 4, an epoch each turn: alone, and beside a training step of 20 ms, which is a sleep, since a step
on a GPU leaves the CPU free. A turn is a new process with an empty local cache; of those that keep a local copy, a
second turn (warm) reads it. samples/s and CPU ms a sample count from the first batch on; the CPU is the process tree's,
the store's is left out; memory (PSS) is watched in a turn of its own.

Rivals: pyarrow and torch's DataLoader over lvray's Parquet; mosaicml-streaming, litdata and webdataset, each in an
environment of its own, which is made here, compressed and raw (4 times the bytes: a loopback sends them for nothing);
HD5 files as ml4h keeps them. About 30 minutes on 2 cores the first time and 4 GB of disk; the store and the
environments stay in --work. Tables on stdout, whose last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from scripts.bench.rivals.rows import BATCH
from scripts.bench.rivals.sides import OWN, RIVALS, Failed, Side, python_of, read, version_of, write
from scripts.bench.rounds import Spread, spread
from scripts.bench.weed import weed

BUCKET = "loader"
STEP = 0.02
CASES = {"alone": 0.0, "beside a step": STEP}
NO_LOADER = "no loader"
OF_NO_LOADER, OF_BEST, FIRST_SECONDS = 0.85, 0.95, 5.0
"""At least so much of the rate without a loader, beside a step; of the best rival's, alone; to the first batch."""
Turns = dict[str, dict[str, list[dict[str, Any]]]]
"""By case and side: side.Delivered of each round."""


def bench(work: Path, rows: int, rounds: int, sides: Sequence[Side] = (*OWN, *RIVALS)) -> dict[str, Any]:
    """Everything, printed as it comes -> the JSON object."""
    failed: dict[str, str] = {}
    with weed(work / "weed", BUCKET):
        pythons, peaks = _ready(sides, rows, work, failed)
        running = [side for side in sides if side.name in peaks]
        turns = take_turns(running, pythons, rows, rounds, work, failed)
    versions = {side.packages[0]: version_of(side, pythons[side.name]) for side in running if side.packages}
    versions |= {name: version(name) for name in ("ray", "torch", "pyarrow", "h5py")}
    print(f"{rows} rows, {rounds} rounds, batches of {BATCH}; {', '.join(map(' '.join, versions.items()))}\n")
    result: dict[str, Any] = {"rows": rows, "rounds": rounds, "versions": versions, "failed": failed}
    for case in turns:
        result[case] = show(case, turns[case], peaks)
    for name, why in failed.items():
        print(f"{name}: did not run: {why}")
    return result | {"holds": verdict(turns)}


def _ready(sides: Sequence[Side], rows: int, work: Path,
           failed: dict[str, str]) -> tuple[dict[str, str], dict[str, int]]:
    """Interpreter and peak memory of each side that runs; what it reads is in the store. failed: gains the others."""
    pythons, peaks = {}, {}
    for side in sides:
        say(f"making ready: {side.name}")
        mark = work / "written" / f"{side.data}-{rows}"
        try:
            pythons[side.name] = python = python_of(side, work / "environments")
            if not mark.exists():
                write(side, python, _uri(side, rows), rows, work / "cache")
                mark.parent.mkdir(exist_ok=True)
                mark.touch()
            peaks[side.name] = _turn(side, python, rows, work, 0.0, watched=True)["peak"]
        except Failed as error:
            failed[side.name] = str(error)
    return pythons, peaks


def take_turns(sides: Sequence[Side], pythons: dict[str, str], rows: int, rounds: int, work: Path,
               failed: dict[str, str]) -> Turns:
    """Every side in every case, `rounds` times; each round begins with another side. failed: gains those that did not
    end one, which are left out."""
    turns: Turns = {case: defaultdict(list) for case in CASES}
    for number in range(rounds):
        turn = number % len(sides)
        for case, step in CASES.items():
            say(f"round {number + 1} of {rounds}, {case}")
            turns[case][NO_LOADER].append(_no_loader(rows, step))
            for side in (*sides[turn:], *sides[:turn]):
                if side.name in failed:
                    continue
                python = pythons[side.name]
                try:
                    turns[case][side.name].append(_turn(side, python, rows, work, step))
                    say(f"  {side.name}: {turns[case][side.name][-1]['rate']:.0f}/s")
                    if side.keeps:
                        warm = read(side, python, _uri(side, rows), rows, work / "cache", step=step)
                        turns[case][f"{side.name}, warm"].append(warm)
                except Failed as error:
                    failed[side.name] = str(error)
    out = {*failed, *(f"{name}, warm" for name in failed)}
    return {case: {name: taken for name, taken in turns[case].items() if name not in out} for case in turns}


def _turn(side: Side, python: str, rows: int, work: Path, step: float, watched: bool = False) -> dict[str, Any]:
    """From an empty cache."""
    shutil.rmtree(work / "cache", ignore_errors=True)
    return read(side, python, _uri(side, rows), rows, work / "cache", step=step, watched=watched)


def _uri(side: Side, rows: int) -> str:
    return f"s3://{BUCKET}/{side.data}-{rows}"


def _no_loader(rows: int, step: float) -> dict[str, Any]:
    """The same steps over batches that are there already."""
    steps, began = rows // BATCH, time.perf_counter()
    for _ in range(steps if step else 0):
        time.sleep(step)
    seconds = time.perf_counter() - began
    return {"rate": rows / seconds if step else float("inf"), "cpu_ms": 0.0, "first": 0.0}


def show(case: str, turns: dict[str, list[dict[str, Any]]], peaks: dict[str, int]) -> dict[str, Any]:
    print(f"{case:<30}{'samples/s (low to high)':>25}{'of lvray, Ray':>22}{'CPU ms':>9}{'first s':>9}{'MiB':>7}")
    result = {}
    for name, taken in turns.items():
        rate, cpu, first = (spread([turn[key] for turn in taken]) for key in ("rate", "cpu_ms", "first"))
        over = over_first(turns, name, OWN[0].name)
        mib = f"{peaks[name] / 2**20:.0f}" if name in peaks else ""
        print(f"{name:<30}{f'{rate.median:.0f} ({rate.low:.0f} to {rate.high:.0f})':>25}"
              f"{f'{over.median:.2f} ({over.low:.2f} to {over.high:.2f})':>22}{cpu.median:>9.1f}{first.median:>9.2f}"
              f"{mib:>7}")
        result[name] = {"rate": _rounded(rate), "over_lvray": _rounded(over), "cpu_ms": _rounded(cpu),
                        "first_s": _rounded(first), "mib": peaks.get(name, 0) >> 20}
    print()
    return result


def over_first(turns: dict[str, list[dict[str, Any]]], one: str, other: str) -> Spread:
    """How many times the rate of `other` the side `one` has, round by round."""
    return spread([a["rate"] / b["rate"] for a, b in zip(turns[one], turns[other], strict=True)])


def verdict(turns: Turns) -> dict[str, bool]:
    """What lvray's stream must hold, as training has it; rivals from an empty cache."""
    alone, beside = turns["alone"], turns["beside a step"]
    own = OWN[0].name
    first = median(turn["first"] for turn in (*alone[own], *beside[own]))
    rivals = [side.name for side in RIVALS if side.name in alone]
    return {
        f"beside a step, {OF_NO_LOADER:.0%} of no loader": over_first(beside, own, NO_LOADER).median >= OF_NO_LOADER,
        "beside a step, first": all(over_first(beside, own, rival).median > 1 for rival in rivals),
        f"alone, {OF_BEST} of the best rival": all(over_first(alone, own, rival).median >= OF_BEST for rival in rivals),
        f"first batch within {FIRST_SECONDS:.0f} s": first <= FIRST_SECONDS,
    }


def _rounded(found: Spread) -> list[float]:
    return [round(value, 3) for value in (found.median, found.low, found.high)]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("/tmp/lvray-loader"), help="a folder that is kept")
    parser.add_argument("--rows", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    result = bench(args.work.resolve(), args.rows, args.rounds)
    for what, holds in result["holds"].items():
        print(f"{'holds' if holds else 'FAILS':<8}{what}")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
