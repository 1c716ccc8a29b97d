"""The evaluation job: every method against the manual labels of people it never saw, and a report."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import torch

import lvray
from lvray import recipes
from lvray.cmr.quality import Flag
from lvray.errors import UseError
from lvray.evidence import disclosure, figures
from lvray.evidence.conformal import Intervals
from lvray.evidence.details import Outcome
from lvray.evidence.evaluation import METHODS, Evaluation, Method, evaluate
from lvray.evidence.overlap import Overlap
from lvray.evidence.people import Person, labelled
from lvray.evidence.report import Picture, Report, write_report
from lvray.jobs import apart, rows, trial
from lvray.jobs.calibrate import uses_of, uses_of_training
from lvray.jobs.estimates import fetch, name_of
from lvray.jobs.rows import Estimated
from lvray.nets.predict import Predictor
from lvray.settings import Recipe
from lvray.shards import folders, storage
from lvray.shards.dataset import Dataset, open_dataset, select
from lvray.shards.schema import Row
from lvray.weights import own

DEMO_LIMIT = ("The weights are a smoke recipe's, trained for a minute or two: they show how lvray works and say nothing"
              " about real hearts.")
OWN_LIMIT = ("lvray's own weights, which a network is or began with, were trained on generated hearts and on the"
             " Sunnybrook patients that their model card names: if any of those are here, the figures flatter.")
SOURCES = {"inlinevf": "InlineVF", "expert": "the expert", None: "none"}


@dataclass(frozen=True)
class External:
    """Others' estimates to put beside lvray's: grams by participant's hash, and how their masks overlap, if any."""

    grams: Mapping[str, float | None]
    overlaps: Mapping[str, Mapping[str, Overlap]] = field(default_factory=dict)


@dataclass(frozen=True)
class Ask:
    """What is to be evaluated and shown. described: what the data are, in a sentence; else by the phantoms in them."""

    described: str | None = None
    splits: tuple[str, ...] = ("holdout",)
    external: Mapping[str, External] = field(default_factory=dict)
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    trained_on: tuple[str, ...] = ()
    """URIs of other data sets that checkpoints were trained or calibrated on."""
    allow_leakage: bool = False
    pictures: bool = True
    hide_small: bool = False


@dataclass(frozen=True)
class Ready:
    """evaluated, training: rows; doubts: why people may have been trained on; intervals: those of the predictors."""

    dataset: Dataset
    predictors: list[Predictor]
    intervals: list[Intervals]
    evaluated: list[int]
    training: list[int]
    doubts: list[str]


def check(data: str, checkpoints: Sequence[str], out: str, ask: Ask) -> Ready:
    """UseError, CheckpointError, EnvironmentFault: as `run`, as far as that is seen without Ray."""
    storage.preflight(out, write=True, what="--out")
    dataset = open_dataset(data)
    predictors = [fetch(uri) for uri in checkpoints]
    if len({name_of(p) for p in predictors}) != len(predictors):
        raise UseError("two checkpoints of one network: evaluate one segmenter and one regressor at a time")
    evaluated, training = select(dataset, ask.splits).tolist(), select(dataset, ["train"], ["manual_g"]).tolist()
    if not evaluated:
        raise UseError(f"the data set has nobody in {' or '.join(ask.splits)}: tensorize with a larger share of it")
    for name, theirs in ask.external.items():
        _check_known(name, theirs.grams, dataset)
    for name, known in ask.outcomes.items():
        _check_known(name, known.has, dataset)
    intervals = [Intervals.from_dict(p.intervals) for p in predictors if p.intervals is not None]
    uses = [*(use for p in predictors for use in uses_of_training(p, dataset)),
            apart.Use("centering", dataset.checksum, ("train",)), *map(uses_of, intervals)]
    doubts = apart.doubts(dataset, evaluated, uses, ask.trained_on)
    if doubts and not ask.allow_leakage:
        raise UseError(f"{doubts[0]}; --allow-leakage evaluates all the same, and the report says so")
    return Ready(dataset, predictors, intervals, evaluated, training, doubts)


def run(data: str, checkpoints: Sequence[str], out: str, ask: Ask,
        progress: Callable[[int, int], None] = lambda done, of: None) -> tuple[Evaluation, str]:
    """Evaluate checkpoints, InlineVF and others' estimates on some splits of a data set; Ray must be running.

    -> the evaluation and the URI of report.html. UseError: nobody there, two checkpoints of one network, people who
    were trained on, ... EnvironmentFault: `out` cannot be written.
    """
    ready = check(data, checkpoints, out, ask)
    dataset, predictors, evaluated, training = ready.dataset, ready.predictors, ready.evaluated, ready.training
    found = rows.by_predictors(dataset, list(dict.fromkeys([*training, *evaluated])), predictors, progress)
    methods = (*METHODS, *(Method(name, centred=False) for name in ask.external))
    train_people, people = (_people(dataset, of, found, ask.external) for of in (training, evaluated))
    evaluation = evaluate(train_people, people, methods, intervals=ready.intervals, outcomes=ask.outcomes,
                          both_sides=bool(ready.doubts))
    segmenter = next((p for p in predictors if p.network["kind"] == "seg"), None)
    report = Report(
        title=f"LV mass: {', '.join(ask.splits)}", data=ask.described or _described(dataset), evaluation=evaluation,
        individuals=ask.pictures,
        pictures=tuple(_overview(dataset, people, segmenter)) if ask.pictures else (),
        worst=tuple(_worst(dataset, evaluation, segmenter)) if ask.pictures else (),
        facts=_facts(dataset, predictors, checkpoints, found), warnings=tuple(ready.doubts), hide_small=ask.hide_small,
        limits=(*((DEMO_LIMIT,) if any(p.checkpoint.settings["for_show"] for p in predictors) else ()),
                *((OWN_LIMIT,) if any(map(_began_with_own, predictors)) else ()),
                *(f"Whether {name} was trained on these people, lvray cannot know." for name in ask.external)))
    with folders.made(out, "the report") as folder:
        page = write_report(folder, report)
    return disclosure.hide(evaluation) if ask.hide_small else evaluation, storage.join(out, page.name)


def _began_with_own(predictor: Predictor) -> bool:
    return not own.data().isdisjoint([predictor.checkpoint.data, *predictor.checkpoint.earlier])


def _described(dataset: Dataset) -> str:
    phantoms = sum(Flag.PHANTOM in flags for flags in dataset.index["flags"].to_pylist())
    if not phantoms:
        return "The user's data."
    return "Phantoms: invented hearts." if phantoms == dataset.index.num_rows else "The user's data, and phantoms."


def _check_known(name: str, participants: Collection[str], dataset: Dataset) -> None:
    if not set(participants) & set(dataset.column("participant")):
        raise UseError(f"{name}: none of its participants is in the data set; is the key the data set's?")


def _people(dataset: Dataset, of: Sequence[int], found: Mapping[int, Mapping[str, Estimated | str]],
            external: Mapping[str, External]) -> list[Person]:
    columns = ("participant", "study", "manual_g", "inlinevf_g", "sex", "height_cm", "weight_kg", "spacing", "flags")
    table = dataset.index.select(columns).take(pa.array(of, pa.int64()))
    people = []
    for number, row in zip(of, table.to_pylist(), strict=True):
        who = row["participant"]
        known = {name: what for name, what in found[number].items() if isinstance(what, Estimated)}
        people.append(Person(
            who, row["manual_g"],
            {**{name: what.mass_g for name, what in known.items()}, "InlineVF": row["inlinevf_g"],
             **{name: theirs.grams.get(who) for name, theirs in external.items()}},
            row["sex"], row["height_cm"], row["weight_kg"], study=row["study"], pixel_mm=row["spacing"][2],
            flags=frozenset(row["flags"]),
            estimate_flags={name: what.flags for name, what in known.items()},
            overlaps={**{name: what.overlap for name, what in known.items() if what.overlap is not None},
                      **{name: theirs.overlaps[who] for name, theirs in external.items() if who in theirs.overlaps}},
            intervals_g={name: what.interval_g for name, what in known.items() if what.interval_g is not None}))
    return people


def _overview(dataset: Dataset, people: Sequence[Person], segmenter: Predictor | None) -> list[Picture]:
    """One person's heart as each of the paper's methods sees it: of those with outlines, the one of median mass."""
    outlined, row_of = dataset.column("has_mask"), _row_of(dataset)
    them = sorted((p for p in labelled(people, ())[0] if outlined[row_of[p.study]]),
                  key=lambda p: (p.manual_g, p.participant))
    if not them or segmenter is None:
        return []
    who = them[len(them) // 2]
    [(row, mask)] = rows.pictures(dataset, [row_of[who.study]], segmenter)
    titles = [f"{name}: {grams:.0f} g" if (grams := who.estimates_g.get(name)) is not None else f"{name}: none"
              for name in ("ML4Hreg", "ML4Hseg", "InlineVF")]
    titles[2] = titles[2] if row.mask_source == "inlinevf" else f"outlines: {SOURCES[row.mask_source]}"
    return [Picture("One heart, three estimates", f"Study {row.study[:8]}, manual LV mass {who.manual_g:.0f} g; raw"
                    " estimates. The regressor sees the images alone; contours are cavity and epicardium at end"
                    " diastole, on the middle slice.", figures.overview(_shown(row, mask), titles))]


def _row_of(dataset: Dataset) -> dict[str, int]:
    """Row numbers by study."""
    return {study: row for row, study in enumerate(dataset.index["study"].to_pylist())}


def _worst(dataset: Dataset, evaluation: Evaluation, segmenter: Predictor | None) -> list[Picture]:
    """The largest errors, with their contours."""
    row_of = _row_of(dataset)
    made = []
    for case in evaluation.worst:
        [(row, mask)] = rows.pictures(dataset, [row_of[case.study]], segmenter)
        made.append(Picture(
            f"Study {row.study[:8]}: {case.estimate_g - case.manual_g:+.1f} g",
            f"{evaluation.reference} {case.estimate_g:.1f} g, manual {case.manual_g:.1f} g. Flags:"
            f" {', '.join(case.flags) or 'none'}. Outlines of the data set: {SOURCES[row.mask_source]}.",
            figures.overlay(_shown(row, mask), "ML4Hseg", SOURCES[row.mask_source])))
    return made


def _shown(row: Row, mask: np.ndarray | None) -> figures.Study:
    return figures.Study(row.study[:8], row.image, row.spacing, mask, row.mask)


def _facts(dataset: Dataset, predictors: Sequence[Predictor], checkpoints: Sequence[str],
           found: Mapping[int, Mapping[str, Estimated | str]]) -> dict[str, dict[str, str | int | float | None]]:
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
        reasons = Counter(what for of in found.values() if isinstance(what := of[name_of(p)], str))
        facts[name_of(p)] = {
            "studies refused": ", ".join(f"{reason} {n}" for reason, n in sorted(reasons.items())) or 0,
            "recipe": saved.settings["name"], "width": p.network["width"],
            "box (slices, rows, columns)": " x ".join(map(str, p.network["box"])), "epoch": saved.epoch,
            "weights sha256": p.weights_sha256, "lvray that trained it": saved.version,
            "trained on": "this data set" if saved.data == dataset.checksum else "other data, or an earlier state",
            **{name.replace("_", " "): value for name, value in saved.metrics.items() if name != "epoch"},
            **({"settings found by": found_by} if found_by else {})}
        facts[f"Settings of {name_of(p)}"] = {
            name: value if isinstance(value, int | float | str) and not isinstance(value, bool) else json.dumps(value)
            for name, value in recipes.flat(Recipe.model_validate(saved.settings)).items()}
    return facts
