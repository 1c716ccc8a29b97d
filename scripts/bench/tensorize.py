"""Tensorizing beside the usual way and beside the floor, on a phantom biobank of UK Biobank's full size.

    python scripts/bench/tensorize.py --work /tmp/bench

From files and from an object store (SeaweedFS on this machine), per core: lvray; the usual way (every frame decoded by
pydicom, one gzip HD5 a person); the floor (each member inflated, the kept frames decoded) and a lower one (the first
4 KB of each member alone). Then the whole job from S3 to S3 for an eighth, a quarter, a half and all of the cohort, and
the masks of its shards against the true masses.

200 studies take about 45 minutes on 2 cores the first time, 15 later, and 35 GB of disk. The cohort and the store stay
in --work for the next time: delete it after a change to the phantoms. Progress on stderr, tables on stdout, whose last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lvray.cmr.phantom.people import PhantomOptions
from lvray.shards.dataset import open_dataset
from scripts.bench import cohort, growth, mass
from scripts.bench.growth import DST, SRC, Run, dst
from scripts.bench.mass import Masses, median_and_worst
from scripts.bench.rounds import Costs, Spread, measured, ratio, spread
from scripts.bench.weed import weed

TIMED = 6
"""Studies of each round."""
AT_LEAST = {"usual": 5.0, "whole": 0.7}
"""What the usual way and the floor must take, over what lvray takes."""
PEAK_BYTES, LINE_SHARE, MASS_PERCENT = 1.5 * 2**30, 0.1, 2.0
"""The most that a worker may take, that a run may lie off the straight line, that a mask's mass may be wrong by."""


def bench(work: Path, studies: int, rounds: int, options: PhantomOptions = cohort.FULL) -> dict[str, Any]:
    """Everything, printed as it comes -> the JSON object."""
    made = cohort.make(work / "zips", studies, options, progress=lambda done: say(f"phantoms: {done} of {studies}"))
    hd5 = work / "hd5"
    hd5.mkdir(exist_ok=True)
    timed = made.zips[:TIMED]
    with weed(work / "weed", SRC, DST) as store:
        growth.upload(made, say)
        say("rounds: from files")
        local = measured(list(map(str, timed)), str(work / "parts"), hd5, rounds, None)
        say("rounds: from S3")
        remote = measured([f"{growth.src(studies)}/{path.name}" for path in timed], f"s3://{DST}/parts", hd5, rounds,
                          store)
        runs = growth.grow(studies, store, say)
        masses = mass.check(open_dataset(dst(studies)), made)
    zip_mb = sum(path.stat().st_size for path in made.zips) / studies / 1e6
    print(f"{studies} studies of {zip_mb:.1f} MB; {rounds} rounds of {len(timed)} studies; seconds are a study's\n")
    result: dict[str, Any] = {"studies": studies, "rounds": rounds, "timed": len(timed), "zip_mb": round(zip_mb, 1)}
    result["files"] = show_costs("files", local, len(timed))
    result["s3"] = show_costs("S3", remote, len(timed))
    result["growth"] = show_growth(runs)
    result["mass"] = show_masses(masses)
    return result | {"holds": verdict(local, remote, runs, masses)}


def show_costs(place: str, costs: Costs, studies: int) -> dict[str, Any]:
    print(f"{'from ' + place:<24}{'CPU s':>8}{'wall s':>8}{'MB read':>9}   CPU over lvray's, median (low to high)")
    result = {}
    for way, taken in costs.items():
        cpu, wall = (spread([getattr(cost, clock) / studies for cost in taken]).median for clock in ("cpu", "wall"))
        sent, over = taken[0].sent / studies / 1e6, ratio(costs, way, "lvray")
        print(f"{way:<24}{cpu:>8.2f}{wall:>8.2f}{sent:>9.1f}   {over.median:.3f} ({over.low:.3f} to {over.high:.3f})")
        result[way] = {"cpu_s": round(cpu, 3), "wall_s": round(wall, 3), "mb": round(sent, 2),
                       "cpu_over_lvray": _rounded(over),
                       "wall_over_lvray": _rounded(ratio(costs, way, "lvray", "wall"))}
    print()
    return result


def show_growth(runs: Sequence[Run]) -> dict[str, Any]:
    print(f"{'S3 to S3, studies':<24}" + "".join(f"{name:>9}" for name in (
        "rows", "rejects", "wall s", "s/study", "MB read", "peak MiB")))
    for run in runs:
        print(f"{run.studies:<24}{run.rows:>9}{run.rejects:>9}{run.seconds:>9.1f}{run.seconds / run.studies:>9.2f}"
              f"{run.sent / 1e6:>9.1f}{run.peak / 2**20:>9.0f}")
    start, each, off = growth.straight(runs)
    ends = runs[-1].seconds / runs[0].seconds / (runs[-1].studies / runs[0].studies)
    print(f"{start:.1f} s and {each:.3f} s a study; furthest off that line {off:.1%}; "
          f"a study of the largest takes {ends:.2f} times one of the smallest\n")
    return {"runs": [asdict(run) for run in runs], "start_s": round(start, 2), "study_s": round(each, 4),
            "off_line": round(off, 4), "largest_over_smallest": round(ends, 3)}


def show_masses(masses: Masses) -> dict[str, Any]:
    result: dict[str, Any] = {"outlined": masses.outlined, "masks": len(masses.mask)}
    print(f"{len(masses.mask)} masks of {masses.outlined} outlined studies; % off the true mass: median and worst")
    for name, errors in (("mask", masses.mask), ("shares", masses.shares)):
        middle, worst = median_and_worst(errors)
        print(f"{name:<24}{middle:>8.2f}{worst:>8.2f}")
        result[name] = {"median": round(middle, 3), "worst": round(worst, 3)}
    print()
    return result


def verdict(local: Costs, remote: Costs, runs: Sequence[Run], masses: Masses) -> dict[str, bool]:
    return {
        **{f"{way} at least {least:g} times lvray, {place}": ratio(costs, way, "lvray").median >= least
           for way, least in AT_LEAST.items() for place, costs in (("files", local), ("S3", remote))},
        "a worker under 1.5 GiB": max(run.peak for run in runs) < PEAK_BYTES,
        "time linear within 10 %": growth.straight(runs)[2] <= LINE_SHARE,
        "masses within 2 %": len(masses.mask) == masses.outlined and median_and_worst(masses.mask)[1] <= MASS_PERCENT,
    }


def _rounded(found: Spread) -> list[float]:
    return [round(value, 3) for value in (found.median, found.low, found.high)]


def say(text: str) -> None:
    print(text, file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for the cohort, the store and the HD5 files")
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    result = bench(args.work.resolve(), args.studies, args.rounds)
    for what, holds in result["holds"].items():
        print(f"{'holds' if holds else 'FAILS':<8}{what}")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
