"""The report of a training run, beside its checkpoints: `<run>/report.html` and `<run>/curves.png`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lvray
from lvray import recipes
from lvray.evidence.training import Line, Training, curves, run_report
from lvray.jobs import mode
from lvray.jobs.selection import Selection
from lvray.settings import Recipe
from lvray.shards import storage
from lvray.shards.dataset import Dataset

REPORT = "report.html"
CURVES = "curves.png"


def write_report(run: str, recipe: Recipe, dataset: Dataset, rows: Selection, lines: Sequence[Line]) -> None:
    """Of a run that is done. lines: all of its metrics. EnvironmentFault: the disk or the store refuses."""
    picture = curves(lines)
    training = Training(recipe=recipe.name, epochs=recipe.epochs, lines=lines, settings=_settings(recipe),
                        facts=_facts(run, dataset, rows), for_show=recipe.for_show)
    storage.write_atomic(storage.join(run, CURVES), picture, CURVES)
    storage.write_atomic(storage.join(run, REPORT), run_report(training, picture).encode(), REPORT)


def _facts(run: str, dataset: Dataset, rows: Selection) -> dict[str, dict[str, Any]]:
    """The data set by its checksum alone: a URI may hold an id."""
    began = mode.read(run)
    return {
        "Data": {
            "manifest (sha256)": dataset.checksum, "generation": dataset.manifest.generation,
            "made by": f"lvray {dataset.manifest.code}", "training studies": len(rows.train),
            "validation studies": len(rows.validation), "set aside (more slices than the box)": rows.set_aside},
        "Hardware where the run began": {name.replace("_", " "): _text(v) for name, v in began["hardware"].items()},
        "Steps": {name.replace("_", " "): _text(value) for name, value in began["mode"].items()},
        "Code": {"lvray": lvray.__version__},
    }


def _settings(recipe: Recipe) -> dict[str, dict[str, str]]:
    """Every setting, by the group that it stands in."""
    groups: dict[str, dict[str, str]] = {"": {}}
    for name, value in recipes.flat(recipe).items():
        group, _, last = name.rpartition(".")
        groups.setdefault(group, {})[last] = _text(value)
    return {group or recipe.name: values for group, values in groups.items()}


def _text(value: Any) -> str:
    """For people: "yes", "none", "avx2, fma"."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
