"""The evaluation job: every method against the manual labels of the holdout, and a report."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

import lvray
from lvray.errors import UseError
from lvray.evidence import figures
from lvray.evidence.evaluation import METHODS, Evaluation, Method, evaluate
from lvray.evidence.people import Person
from lvray.evidence.report import Picture, Report, write_report
from lvray.jobs import estimates, trial
from lvray.nets.predict import Predictor
from lvray.shards import storage
from lvray.shards.dataset import Dataset, open_dataset, select

PICTURES = 2
DEMO_LIMIT = ("The weights are a smoke recipe's, trained for a minute or two: they show how lvray works and say nothing"
              " about real hearts.")


External = Mapping[str, Mapping[str, float | None]]
"""Others' estimates to put beside lvray's: {method: {participant hash: grams}}."""


def run(data: str, checkpoints: Sequence[str], out: Path, *, external: External, described: str,
        progress: Callable[[int, int], None] = lambda done, of: None) -> tuple[Evaluation, Path]:
    """Evaluate checkpoints, InlineVF and others' estimates on the holdout of a data set; Ray must be running.

    -> the evaluation and the path of report.html. UseError: no holdout, two checkpoints of one network, ...
    EnvironmentFault: `out` cannot be written.
    described: what the data are, in a sentence for the report.
    """
    storage.preflight(str(out), write=True, what="--out")
    dataset = open_dataset(data)
    predictors = [estimates.fetch(uri) for uri in checkpoints]
    kinds = [p.network["kind"] for p in predictors]
    if len(set(kinds)) != len(kinds):
        raise UseError("two checkpoints of one network: evaluate one segmenter and one regressor at a time")
    holdout, training = select(dataset, ["holdout"]).tolist(), select(dataset, ["train"], ["manual_g"]).tolist()
    if not holdout:
        raise UseError("the data set has no holdout: tensorize with a larger share of it")
    for name, grams in external.items():
        if not grams.keys() & set(dataset.column("participant")):
            raise UseError(f"{name}: none of its participants is in the data set; is the key the data set's?")
    found = estimates.by_checkpoints(dataset, [*training, *holdout], checkpoints, progress)
    methods = (*METHODS, *(Method(name, centred=False) for name in external))
    train_people, held_people = (_people(dataset, rows, found, external) for rows in (training, holdout))
    evaluation = evaluate(train_people, held_people, methods)
    page = write_report(out, Report(
        title="LV mass on the holdout", data=described, evaluation=evaluation,
        pictures=tuple(_pictures(dataset, holdout, predictors)), facts=_facts(dataset, predictors, checkpoints),
        limits=(DEMO_LIMIT,) if any(p.checkpoint.settings["for_show"] for p in predictors) else ()))
    return evaluation, page


def _people(dataset: Dataset, rows: Sequence[int], found: dict[int, dict[str, float | None]],
            external: External) -> list[Person]:
    people = []
    for number in rows:
        row = {name: dataset.index[name][number].as_py()
               for name in ("participant", "manual_g", "inlinevf_g", "sex", "height_cm", "weight_kg")}
        theirs = {name: grams.get(row["participant"]) for name, grams in external.items()}
        people.append(Person(row["participant"], row["manual_g"],
                             {**found[number], "InlineVF": row["inlinevf_g"], **theirs},
                             row["sex"], row["height_cm"], row["weight_kg"]))
    return people


def _pictures(dataset: Dataset, holdout: Sequence[int], predictors: Sequence[Predictor]) -> list[Picture]:
    """The segmenter's contours on the first holdout studies, beside the data set's own."""
    made = []
    segmenter = next((p for p in predictors if p.network["kind"] == "seg"), None)
    for row, mask in estimates.pictures(dataset, holdout[:PICTURES], segmenter) if segmenter else ():
        study = figures.Study(row.study[:8], row.image, row.spacing, mask, row.mask)
        theirs = {"inlinevf": "InlineVF", "expert": "the expert", None: None}[row.mask_source]
        made.append(Picture(f"Study {row.study[:8]}", "Contours at end diastole, base to apex.",
                            figures.overlay(study, "ML4Hseg", theirs or "")))
    return made


def _facts(dataset: Dataset, predictors: Sequence[Predictor],
           checkpoints: Sequence[str]) -> dict[str, dict[str, str | int | float | None]]:
    listed = dataset.manifest
    facts: dict[str, dict[str, str | int | float | None]] = {
        "Data": {"studies": listed.studies, "rows": dataset.index.num_rows, "refused": listed.rejects.rows,
                 "manifest sha256": dataset.checksum},
        "Splits": {**listed.splits},
        "Versions": {"lvray": lvray.__version__, "torch": torch.__version__, "numpy": np.__version__,
                     "python": platform.python_version()},
    }
    for p, uri in zip(predictors, checkpoints, strict=True):
        saved, found_by = p.checkpoint, trial.found_by(uri)
        facts[estimates.NAMES[p.network["kind"]]] = {
            "recipe": saved.settings["name"], "width": p.network["width"],
            "box (slices, rows, columns)": " x ".join(map(str, p.network["box"])), "epoch": saved.epoch,
            "weights sha256": p.weights_sha256, "lvray that trained it": saved.version,
            "trained on": "this data set" if saved.data == dataset.checksum else
            "another data set: people of this holdout may have been in its training",
            **{name.replace("_", " "): value for name, value in saved.metrics.items() if name != "epoch"},
            **({"settings found by": found_by} if found_by else {})}
    return facts
