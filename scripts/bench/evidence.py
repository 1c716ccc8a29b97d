"""From a cohort to a table that can be trusted: 300 phantoms, both networks, estimates, intervals, the report.

    python -m scripts.bench.evidence [--work DIR] [--participants 300]

The cohort of scripts/bench/learning.py with a calibration split. Both networks at smoke scale; calibrated; every study
predicted (rows + refusals = studies), the holdout evaluated, and all of that twice, to the same bytes. Then the people
whom no network saw (calibration and holdout) are dealt anew into two halves RESPLITS times: intervals are fitted on
the one, their coverage counted on the other. Tables on stdout, whose last line is one JSON object, with each bound of
the project and whether it held. About 15 minutes on two cores. --work keeps it all: the same again goes on from there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from lvray import console, recipes
from lvray.evidence import conformal
from lvray.evidence.conformal import Intervals
from lvray.evidence.evaluation import Evaluation
from lvray.evidence.table import coverage_cells, table
from lvray.jobs import evaluate, phantom, rows
from lvray.jobs.calibrate import calibrate
from lvray.jobs.cluster import cluster
from lvray.jobs.estimates import fetch, name_of
from lvray.jobs.predict import predict_cohort
from lvray.jobs.rows import Estimated
from lvray.jobs.tensorize import tensorize
from lvray.jobs.train import train
from lvray.settings import Splits, Tensorize
from lvray.shards.dataset import Dataset, open_dataset, select
from scripts.bench.learning import SEED, SIZE
from scripts.bench.ways import KEY

SETTINGS = Tensorize(splits=Splits(validation=0.1, calibration=0.2, holdout=0.25))
RECIPES = {"seg": ("smoke_seg", "network.box=10,64,64", "epochs=20", "optimiser.gamma=0.9"),
           "reg": ("smoke_reg", "network.box=10,64,64", "epochs=28", "optimiser.gamma=0.93")}
RESPLITS = 200
BOUNDS = (0.88, 0.92)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--work", type=Path)
    asked.add_argument("--participants", type=int, default=300)
    options = asked.parse_args()
    with contextlib.ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(cluster())
        dataset = _made(work, options.participants)
        best = [_trained(work, dataset, kind) for kind in RECIPES]
        fitted = [calibrate(uri, dataset.uri) for uri in best]
        counts = [_estimated(work / name, work / "ukb", best[0]) for name in ("estimates", "estimates again")]
        reports = [_report(work / name, dataset, best) for name in ("report", "report again")]
        found = {i.method: _resplit(dataset, uri, i) for uri, i in zip(best, fitted, strict=True)}
    same = {name: (work / name).read_bytes() == (work / name.replace("/", " again/", 1)).read_bytes() for name in (
        "estimates/estimates.parquet", "estimates/rejects.parquet", "report/report.json", "report/report.html")}
    print(table(reports[0]), "", *("  ".join(coverage_cells(c)) for c in reports[0].coverages), "", sep="\n")
    for method, covered in found.items():
        print(f"{method}: mean coverage of {RESPLITS} re-splits {mean(covered):.1%}"
              f" ({min(covered):.1%} to {max(covered):.1%})")
    print(json.dumps({"studies": counts[0][0], "estimated": counts[0][1], "refused": counts[0][2],
                      "report": _figures(reports[0]),
                      "resplit_coverage": {m: mean(c) for m, c in found.items()}, "holds": {
                          "rows + refusals = studies": all(n == made + no for n, made, no in counts),
                          "the same bytes twice": all(same.values()),
                          **{f"coverage of {m}": BOUNDS[0] <= mean(c) <= BOUNDS[1] for m, c in found.items()}}}))


def _made(work: Path, participants: int) -> Dataset:
    ukb, shards = work / "ukb", str(work / "shards")
    if not ukb.exists():
        with console.progress("phantoms") as tell:
            phantom.make(ukb, participants, SEED, SIZE, tell)
    with console.progress("tensorize") as tell:
        tensorize(str(ukb), shards, key=KEY, settings=SETTINGS, progress=lambda done, of, refused: tell(done, of))
    return open_dataset(shards)


def _trained(work: Path, dataset: Dataset, kind: str) -> str:
    name, *sets = RECIPES[kind]
    with console.training(name) as tell:
        return train(recipes.override(recipes.named(name), sets), dataset.uri, str(work / kind), tell=tell).best


def _estimated(out: Path, src: Path, checkpoint: str) -> tuple[int, int, int]:
    """Studies, estimates, refusals."""
    studies = len(list(src.glob("*.zip")))
    with console.progress("predict") as tell:
        made = predict_cohort(str(src), str(out), checkpoint=checkpoint, key=KEY,
                              progress=lambda done, of, refused: tell(done, of))
    return studies, *made


def _report(out: Path, dataset: Dataset, best: list[str]) -> Evaluation:
    with console.progress("evaluate") as tell:
        made, _ = evaluate.run(dataset.uri, best, str(out), evaluate.Ask("Phantoms: invented hearts."), tell)
    return made


def _figures(made: Evaluation) -> dict[str, Any]:
    return {row.label: {"n": row.agreement.n, "r": row.agreement.r, "mae_g": row.agreement.mae_g} for row in made.rows}


def _resplit(dataset: Dataset, uri: str, fitted: Intervals) -> list[float]:
    """The coverage of each re-split."""
    predictor = fetch(uri)
    unseen = select(dataset, ["calibration", "holdout"], ["manual_g"]).tolist()
    estimated = rows.by_predictors(dataset, unseen, [predictor], lambda done, of: None)
    people = [(what.mass_g, dataset.index["manual_g"][row].as_py(), dataset.index["sex"][row].as_py())
              for row in unseen if isinstance(what := estimated[row][name_of(predictor)], Estimated)]
    rng, covered = np.random.default_rng(SEED), []
    for _ in range(RESPLITS):
        dealt = [people[i] for i in rng.permutation(len(people))]
        half = len(dealt) // 2
        intervals = conformal.fit(*map(list, zip(*dealt[:half], strict=True)), method=fitted.method, kind="phantom",
                                  weights_sha256="", data="", centering=fitted.centering, level=fitted.level)
        inside = [low <= manual <= high for grams, manual, sex in dealt[half:]
                  for low, high in [intervals.of(grams, sex)]]
        covered.append(mean(inside))
    return covered


if __name__ == "__main__":
    main()
