"""Each of the seven patients by weights that have seen the other six: lvray's own, trained on for a little.

    python -m scripts.weights.leave_one_out WORK [--from URI]

In each of the seven runs the six are mixed with generated hearts, so that what was learnt from those is not lost; how
long and how fast is fixed here and was not chosen by looking at the results. What comes out is noted in LOOKS.md. A
table for people; the last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from lvray.jobs import generate
from lvray.jobs.estimates import fetch
from lvray.settings import Tensorize
from lvray.shards import manifest, parts, writer
from lvray.shards.identity import fingerprint, keyed
from lvray.shards.schema import Row, to_arrow
from lvray.weights import own
from scripts.weights.judge import Case, judged, line, note, summary
from scripts.weights.make import RECIPE, lvray
from scripts.weights.patients import FOLDER, Patient, patients

COPIES, GENERATED, SEED = 16, 96, 5
"""Rows of each patient, which augmentation makes unlike; generated hearts beside them, of a series of their own."""
CHANGES = ("optimiser.lr=3e-4", "optimiser.gamma=0.7", "epochs=6")
SETTINGS = Tensorize()


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("work", type=Path)
    asked.add_argument("--from", dest="start", default=own.DEFAULT)
    args = asked.parse_args()
    if not FOLDER.exists():
        print("the Sunnybrook patients are not here", file=sys.stderr)
        return 4
    everyone = list(patients())
    hearts = [replace(generate.row(SEED, number, SETTINGS), split="train") for number in range(GENERATED)]
    cases: list[Case] = []
    for left_out in everyone:
        data, run = args.work / left_out.name / "shards", args.work / left_out.name / "run"
        if not (data / manifest.name(1)).exists():
            others = [one for one in everyone if one is not left_out]
            write(data, [*hearts, *(row for one in others for row in rows(one))])
        lvray("train", RECIPE, "--from", args.start, "--data", data, "--run", run,
              *(f"--set={change}" for change in CHANGES))
        drawn = fetch(str(run / "best")).segment(left_out.image, left_out.spacing, left_out.centre_yx)
        case = judged(left_out.name, drawn.mask, left_out.mask, drawn.agreement)
        print(f"{case.name:12} cavity {case.cavity:.3f}  wall {case.wall:.3f}  mass {case.error:+.1%}", flush=True)
        cases.append(case)
    found = summary(replace(case, error_all=case.error) for case in cases)
    print(line("each by the other six", found))
    note(fetch(own.located(args.start)), found, cases,
         f"leave-one-out: from these weights on, each by the other six ({', '.join(CHANGES)}; {COPIES} copies of a"
         f" patient, {GENERATED} generated hearts)")
    print(json.dumps({**found, "each": [asdict(case) for case in cases]}))
    return 0


def rows(patient: Patient) -> Iterator[Row]:
    image = patient.image if patient.image.dtype == np.float32 else patient.image.astype(np.int16)
    for copy in range(COPIES):
        called = f"{patient.name} {copy}"
        yield Row(participant=keyed(generate.KEY, "participant", patient.name),
                  study=keyed(generate.KEY, "study", called), source=keyed(generate.KEY, "source", called),
                  given=keyed(generate.KEY, "given", called), split="train", image=image, mask=patient.mask,
                  mask_source="expert", spacing=patient.spacing, affine=np.diag([*patient.spacing, 1.0]),
                  heart_yx=patient.centre_yx, ed_phase=1, manual_g=patient.grams)


def write(folder: Path, all_rows: Sequence[Row]) -> None:
    """In an order that mixes them."""
    folder.mkdir(parents=True)
    order = np.random.default_rng(0).permutation(len(all_rows))
    work = str(folder / parts.FOLDER)
    notes = [parts.stage(work, parts.name(one.study, one.source), to_arrow([one]))
             for one in (all_rows[at] for at in order)]
    made = writer.write(str(folder), work, pa.concat_tables(notes).combine_chunks(), [], studies=len(notes),
                        key=fingerprint(generate.KEY), settings=SETTINGS)
    manifest.publish(str(folder), made)


if __name__ == "__main__":
    sys.exit(main())
