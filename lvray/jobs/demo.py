"""The whole of lvray on one machine in minutes: the jobs of a cluster, on phantoms, local Ray and files."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from lvray import console, estimate, recipes
from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.study import read_cine
from lvray.errors import EnvironmentFault, UseError
from lvray.evidence.table import table
from lvray.jobs import estimates, evaluate, phantom, real
from lvray.jobs.cluster import cluster
from lvray.jobs.tensorize import tensorize
from lvray.jobs.train import Run, train
from lvray.settings import Splits, Tensorize
from lvray.shards.dataset import open_dataset, select
from lvray.shards.identity import keyed
from lvray.shards.listing import list_studies
from lvray.shards.studies import open_study

SEED = 1
KEY = b"a key for phantoms, whom no hash needs to protect"
SETTINGS = Tensorize(splits=Splits(validation=0.15, calibration=0.0, holdout=0.25))
DESCRIBED = "Phantoms: invented hearts with a known mass, in the form of UK Biobank's files."
MARK = ".lvray-demo"
"""In a folder that the demo made: it may clear it."""


def demo(out: Path, participants: int, samples: Path | None) -> None:
    """Phantoms, shards, both networks, evaluation, one prediction, report.html: everything under `out`.

    samples: Sunnybrook's folders (jobs/real.py), for a look at real hearts. UseError: `out` holds something that is not
    a demo's. EnvironmentFault: it cannot be written.
    """
    began = time.monotonic()
    _clear(out)
    ukb, shards = out / "ukb", str(out / "shards")
    with cluster():
        console.say(f"1/6  {participants} phantom participants, as UK Biobank would hand them over")
        with console.progress("phantoms") as tell:
            phantom.make(ukb, participants, SEED, PhantomOptions(), tell)
        console.say("2/6  DICOM to tensor shards")
        with console.progress("tensorize") as tell:
            made = tensorize(str(ukb), shards, key=KEY, settings=SETTINGS,
                             progress=lambda done, of, refused: tell(done, of, f"{refused} refused")).manifest
        console.say(f"     {made.studies} studies: {made.index.rows} rows, {made.rejects.rows} refused; "
                    + ", ".join(f"{n} {split}" for split, n in sorted(made.splits.items())))
        runs = [_train(3, "smoke_seg", shards, out / "seg"), _train(4, "smoke_reg", shards, out / "reg")]
        checkpoints = [run.best for run in runs]
        console.say("5/6  Evaluation on people whom no network saw")
        with console.progress("evaluate") as tell:
            evaluation, page = evaluate.run(shards, checkpoints, str(out / "report"), evaluate.Ask(DESCRIBED), tell)
        console.say("6/6  One study by the saved checkpoint, as `lvray predict` does it")
        predicted = _predict_one(ukb, shards, checkpoints[0])
        hearts = [*real.dice_lines(samples, checkpoints[0])] if samples is not None else []
    print("\n".join([predicted, "", table(evaluation), "", *hearts]))
    print(f"report: {page}\n\nDone in {time.monotonic() - began:.0f} s. These weights are for show. Try next:\n"
          f"  lvray predict YOUR_STUDY.zip --checkpoint {checkpoints[0]} --json\n"
          f"  lvray serve --checkpoint {checkpoints[0]}")


def _clear(out: Path) -> None:
    try:
        if out.exists() and any(out.iterdir()):
            if not (out / MARK).exists():
                raise UseError("--out holds files that are no demo's: choose an empty folder")
            shutil.rmtree(out)
        out.mkdir(parents=True, exist_ok=True)
        (out / MARK).touch()
    except OSError as e:
        raise EnvironmentFault(f"cannot write the demo's folder: {e.strerror}") from e


def _train(number: int, recipe: str, shards: str, run: Path) -> Run:
    settings = recipes.named(recipe)
    console.say(f"{number}/6  Training {recipe}: width {settings.network.width}, {settings.epochs} epochs")
    with console.training(recipe) as tell:
        return train(settings, shards, str(run), tell=tell)


def _predict_one(ukb: Path, shards: str, checkpoint: str) -> str:
    """The first holdout study, from its DICOM."""
    dataset = open_dataset(shards)
    held_out = {dataset.index["study"][i].as_py(): dataset.index["manual_g"][i].as_py()
                for i in select(dataset, ["holdout"]).tolist()}
    source = next(s for s in list_studies(str(ukb)).studies if keyed(KEY, "study", s.name) in held_out)
    with open_study(source) as study:
        found = estimate.predict(read_cine(study.members), estimates.fetch(checkpoint))
    return (console.estimate_text({"name": console.study_name(source, KEY, False), **found.to_dict()})
            + f"\n  Its manual label: {held_out[keyed(KEY, 'study', source.name)]:.1f} g")
