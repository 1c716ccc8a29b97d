"""Each of the seven patients by weights that have seen the other six: those of generated hearts, gone on with a little.

    python -m scripts.weights.leave_one_out WORK --from URI --data SHARDS

How, is in mixed.py. What comes out is noted in LOOKS.md; beside it stand what it would be without each part of what
surrounds the network (judge.ways), and how many have their mass in intervals that were fitted on the calibration hearts
of --data (intervals.py). A table for people; the last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from scipy.stats import binomtest

from lvray.jobs.estimates import fetch
from lvray.shards.dataset import open_dataset
from scripts.weights import mixed
from scripts.weights.intervals import fitted, holds
from scripts.weights.judge import Case, drawn_by, judged, line, note, one_of, real, ways
from scripts.weights.make import go_on
from scripts.weights.patients import FOLDER, patients


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("work", type=Path)
    asked.add_argument("--from", dest="start", required=True)
    asked.add_argument("--data", required=True)
    asked.add_argument("--pictures", type=Path)
    args = asked.parse_args()
    if not FOLDER.exists():
        print("the Sunnybrook patients are not here", file=sys.stderr)
        return 4
    if fetch(args.start).checkpoint.data != open_dataset(args.data).checksum:
        asked.error("--from: weights that were trained on something else than the hearts of --data")
    everyone = list(patients())
    cases: list[Case] = []
    otherwise: dict[str, list[Case]] = defaultdict(list)
    held: dict[str, bool] = {}
    for left_out in everyone:
        folder = args.work / left_out.name
        mixed.write(folder / "shards", [one for one in everyone if one is not left_out])
        go_on(args.start, folder)
        predictor = fetch(str(folder / "run" / "best"))
        cases.append(one_of(predictor, left_out, args.pictures))
        intervals = fitted(predictor, args.data)
        held[left_out.name] = holds(intervals, left_out, cases[-1].error_all)
        print(f"{left_out.name}: {'in' if held[left_out.name] else 'not in'} its 90 % interval of +-"
              f" {intervals.half_g:.1f} g, from {intervals.n} generated hearts", flush=True)
        for way, changed in ways(predictor).items():
            drawn = drawn_by(way, changed, left_out)
            otherwise[way].append(judged(left_out.name, drawn, left_out.mask, left_out.spacing))
    found = real(cases)
    print(line("each by the other six", found))
    for way, ones in otherwise.items():
        print(line(way, real(ones)))
    exact = binomtest(sum(held.values()), len(held)).proportion_ci(method="exact")
    known = [held[one.name] for one in everyone if one.grams is not None]
    print(f"in their 90 % intervals: {sum(held.values())} of {len(held)} (Clopper-Pearson's 95 %: {exact.low:.0%} to"
          f" {exact.high:.0%}); of those whose spacing is known, {sum(known)} of {len(known)}")
    note(fetch(args.start), found, cases,
         f"leave-one-out: from these weights on, each by the other six ({', '.join(mixed.CHANGES)}; {mixed.COPIES}"
         f" copies of a patient, {mixed.GENERATED} generated hearts)")
    print(json.dumps({**found, "each": [asdict(case) for case in cases],
                      "held": held, "otherwise": {way: real(ones) for way, ones in otherwise.items()}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
