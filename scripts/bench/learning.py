"""Is the learning real? Both networks on phantoms, held against the truth that the phantoms were made from.

    python -m scripts.bench.learning [--work DIR] [--participants 300]

The cohort: 4 phases x 10 slices x 96 x 96, pixel sizes of 1.6 to 2.1 mm, InlineVF with its errors; a quarter is held
out, and no figure below is of anyone else. Each network twice, with and without the pixel size as an input, by the
training job on a local Ray, at smoke scale (RECIPES). The segmenter's mean Dice is against masks of the style that it
learnt from (studies with InlineVF outlines) and against the true ones; grams are against the true mass, the regressor's
beside those of predicting the training mean. Tables on stdout, whose last line is one JSON object, with each bound of
the project and whether it held. About 25 minutes on one core. --work keeps the cohort and the runs: the same again
goes on from there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvray import console, recipes
from lvray.cmr.geometry import canonical
from lvray.cmr.mass import CAVITY, MYOCARDIUM, grams
from lvray.cmr.phantom.participant import Participant, participant, truth
from lvray.cmr.phantom.people import PhantomOptions
from lvray.jobs import estimates, phantom
from lvray.jobs.cluster import cluster
from lvray.jobs.tensorize import tensorize
from lvray.jobs.train import train
from lvray.settings import Recipe, Splits, Tensorize
from lvray.shards.dataset import Dataset, open_dataset, select
from lvray.shards.identity import keyed
from lvray.shards.schema import Row
from lvray.shards.stream import scan
from scripts.bench import realism
from scripts.bench.cohort import zip_name
from scripts.bench.ways import KEY

SEED = 1
SIZE = PhantomOptions(phases=4, slices=10, rows=96, columns=96)
SETTINGS = Tensorize(splits=Splits(validation=0.1, calibration=0.0, holdout=0.25))
WITHOUT = "network.pixel_size=false"
RECIPES = {
    "segmenter": ("smoke_seg", "network.box=10,64,64", "epochs=36", "optimiser.gamma=0.94", "validate_epochs=3"),
    "regressor": ("smoke_reg", "network.box=10,64,64", "epochs=60", "optimiser.gamma=0.96", "validate_epochs=3"),
}
CAVITY_DICE, MYOCARDIUM_DICE, R, MAE_SHARE = 0.90, 0.80, 0.95, 0.5
REALISM_HEARTS = 24


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--work", type=Path)
    asked.add_argument("--participants", type=int, default=300)
    options = asked.parse_args()
    with _folder(options.work) as work, cluster():
        dataset = made(work, options.participants)
        subjects = {keyed(KEY, "study", zip_name(subject)): subject
                    for subject in (participant(SEED, n, SIZE) for n in range(options.participants))}
        found: dict[str, dict[str, Any]] = {}
        for name, (recipe, *sets) in RECIPES.items():
            for path, more in (("", []), (", no pixel size", [WITHOUT])):
                settings = recipes.override(recipes.named(recipe), [*sets, *more])
                found[name + path] = learnt(settings, dataset, work / (name + path).replace(", ", "-"), subjects)
    print(table(found))
    real = realism.compared(realism.real_frames(), realism.phantom_frames(REALISM_HEARTS, SEED)) \
        if realism.SUNNYBROOK.is_dir() else None
    print(json.dumps({**found, "holds": holds(found), "realism": real, "recipes": RECIPES,
                      "rows": dict(dataset.manifest.splits)}))


@contextmanager
def _folder(work: Path | None) -> Iterator[Path]:
    if work is not None:
        yield work
        return
    with tempfile.TemporaryDirectory() as made_here:
        yield Path(made_here)


def made(work: Path, participants: int) -> Dataset:
    """The cohort as shards, made once."""
    zips, shards = work / f"ukb-{participants}", str(work / f"shards-{participants}")
    if not (zips / "labels.tsv").exists():  # written last
        shutil.rmtree(zips, ignore_errors=True)
        with console.progress("phantoms") as tell:
            phantom.make(zips, participants, SEED, SIZE, tell)
    with console.progress("tensorize") as tell:
        tensorize(str(zips), shards, key=KEY, settings=SETTINGS,
                  progress=lambda done, of, refused: tell(done, of, f"{refused} refused"))
    dataset = open_dataset(shards)
    assert dataset.manifest.studies == participants
    return dataset


def learnt(recipe: Recipe, dataset: Dataset, run: Path, subjects: dict[str, Participant]) -> dict[str, Any]:
    """Train, predict the holdout with the best checkpoint, and hold it against the truth."""
    with console.training(run.name) as tell:
        best = train(recipe, dataset.uri, str(run), tell=tell).best
    predictor, true, told = estimates.fetch(best), [], []
    dice: dict[str, list[tuple[float, float]]] = {"style": [], "true": []}
    for _, row in scan(dataset, select(dataset, ["holdout"])):
        true.append(truth(subjects[row.study]).mass_g)
        if recipe.network.kind == "reg":
            told.append(predictor.regress(row.image, row.spacing, row.heart_yx))
            continue
        mask = predictor.segment(row.image, row.spacing, row.heart_yx).mask
        told.append(grams(mask, row.spacing))
        dice["true"].append(dice_of(mask, true_mask(subjects[row.study], row)))
        if row.mask is not None:
            dice["style"].append(dice_of(mask, row.mask))
    labels = np.array(dataset.index["manual_g"].take(select(dataset, ["train"], ["manual_g"])))
    return {**agreement(np.array(told), np.array(true), float(labels.mean())), "holdout": len(true),
            "epoch": predictor.checkpoint.epoch,
            **{f"{against} dice": [float(v) for v in np.mean(pairs, 0)] for against, pairs in dice.items() if pairs},
            **({"masks": len(dice["style"])} if dice["style"] else {})}


def agreement(told: NDArray[np.float64], true: NDArray[np.float64], mean_g: float) -> dict[str, float]:
    """r, bias and mean absolute errors in g; mean_g, the mean that the training studies' labels have, as a rival."""
    error = told - true
    return {"r": float(np.corrcoef(told, true)[0, 1]), "bias": float(error.mean()), "mae": float(abs(error).mean()),
            "mae_centred": float(abs(error - error.mean()).mean()), "mae_of_mean": float(abs(mean_g - true).mean())}


def dice_of(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> tuple[float, float]:
    """Of the cavity and of the myocardium, over the whole study."""
    overlap = [2 * ((one == part) & (other == part)).sum() / ((one == part).sum() + (other == part).sum())
               for part in (CAVITY, MYOCARDIUM)]
    return float(overlap[0]), float(overlap[1])


def true_mask(subject: Participant, row: Row) -> NDArray[np.uint8]:
    """The phantom's mask in the row's orientation. ValueError: the row does not lie where the phantom lay."""
    seen = subject.scan
    planes = [seen.short_axis(index) for index in range(len(seen.z))]
    first, last = (seen.patient(plane.origin) for plane in (planes[0], planes[-1]))
    affine = np.eye(4)
    affine[:3, 0] = (last - first) / (len(planes) - 1)
    affine[:3, 1], affine[:3, 2] = planes[0].down @ seen.axes, planes[0].right @ seen.axes
    affine[:3, 3] = first
    mask = truth(subject).mask
    turn = canonical(affine)
    if not np.allclose(turn.apply_affine(affine, mask.shape), row.affine, atol=1e-3):
        raise ValueError("the row's affine is not the phantom's")
    return turn.apply(mask)


def table(found: dict[str, dict[str, Any]]) -> str:
    lines = [f"{'holdout, against the truth':28}{'r':>7}{'bias, g':>9}{'MAE, g':>8}{'centred':>9}{'of mean':>9}"
             f"{'Dice, style':>15}{'Dice, true':>15}"]
    for name, at in found.items():
        dice = "".join("{:9.3f} {:.3f}".format(*at[f"{against} dice"]) for against in ("style", "true")
                       if f"{against} dice" in at)
        lines.append(f"{name:28}{at['r']:7.3f}{at['bias']:9.1f}{at['mae']:8.1f}{at['mae_centred']:9.1f}"
                     f"{at['mae_of_mean']:9.1f}{dice}")
    return "\n".join(lines)


def holds(found: dict[str, dict[str, Any]]) -> dict[str, bool]:
    """The project's bounds."""
    seg, reg = found["segmenter"], found["regressor"]
    return {
        "cavity Dice, style": seg["style dice"][0] >= CAVITY_DICE,
        "myocardium Dice, style": seg["style dice"][1] >= MYOCARDIUM_DICE,
        "segmenter's r": seg["r"] >= R,
        "regressor halves the mean's MAE": reg["mae"] <= MAE_SHARE * reg["mae_of_mean"],
        "regressor gains by the pixel size": reg["mae"] < found["regressor, no pixel size"]["mae"],
    }


if __name__ == "__main__":
    main()
