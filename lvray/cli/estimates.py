"""Commands that estimate LV mass, and that compare and name the estimates."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from lvray import console, recipes
from lvray.cli.options import Check, Data, Json, Key, MaxRejects, Set, ShowPaths, key_if_given, refuse_many
from lvray.errors import Reason, StudyRefused, UseError
from lvray.settings import Predict
from lvray.weights.own import DEFAULT, located

NIFTI = (".nii.gz", ".nii")


class Split(StrEnum):
    HOLDOUT = "holdout"
    CALIBRATION = "calibration"
    VALIDATION = "validation"
    TRAIN = "train"


def evaluate(data: Data,
             out: Annotated[str, typer.Option("--out", help="URI of a folder for report.html, report.json, figures.")],
             checkpoint: Annotated[list[str] | None, typer.Option(help="URI of a checkpoint; one a network.")] = None,
             split: Annotated[list[Split] | None, typer.Option(help="Whom to evaluate [holdout].")] = None,
             estimates: Annotated[Path | None, typer.Option(help="CSV: participant, grams; a method a column.")] = None,
             masks: Annotated[list[str] | None, typer.Option(
                 metavar="[NAME=]DIR", help="Others' NIfTI masks, named by participant.")] = None,
             outcomes: Annotated[Path | None, typer.Option(help="CSV: participant, age, diseases (1 or 0).")] = None,
             trained_on: Annotated[list[str] | None, typer.Option(
                 help="URI of another data set that a checkpoint was trained on.")] = None,
             allow_leakage: Annotated[bool, typer.Option("--allow-leakage", help="Evaluate people who may have been"
                                                         " trained on; the report says so.")] = False,
             no_pictures: Annotated[bool, typer.Option("--no-pictures", help="Nothing of individuals.")] = False,
             hide_small: Annotated[bool, typer.Option("--hide-small", help="Hide counts under 5.")] = False,
             key: Key = None, as_json: Json = False, check_only: Check = False) -> None:
    """Compare networks, InlineVF and others' estimates with the manual labels of people whom no network saw.

    Example: lvray evaluate --data shards --checkpoint runs/seg/best --out report
    """
    from lvray.evidence.table import table
    from lvray.jobs import external
    from lvray.jobs.cluster import cluster
    from lvray.jobs.evaluate import Ask, External, check, run
    from lvray.shards.dataset import open_dataset

    checkpoints = [located(one) for one in checkpoint or []]
    splits = tuple(map(str, split or ("holdout",)))
    if check_only:
        check(data, checkpoints, out, Ask(None, splits, trained_on=tuple(trained_on or ()),
                                               allow_leakage=allow_leakage))
        return
    secret = key_if_given(key)
    beside = {name: External(grams) for name, grams in
              (external.from_csv(estimates, secret) if estimates else {}).items()}
    for given in masks or []:
        name, folder = external.named_folder(given, beside)
        dataset = open_dataset(data)
        files = external.files_of(folder, secret, dataset)
        beside[name] = External(external.from_masks(files), external.overlaps_of(files, dataset))
    ask = Ask(None, splits, beside,
              external.outcomes_of(outcomes, secret) if outcomes else {}, tuple(trained_on or ()), allow_leakage,
              not no_pictures, hide_small)
    with cluster(), console.progress("evaluate") as tell:
        made, page = run(data, checkpoints, out, ask, tell)
    console.result(made.to_dict(), as_json, lambda _: f"{table(made)}\n\nreport: {page}")


def calibrate(checkpoint: Annotated[str, typer.Argument(help="URI of a checkpoint.")], data: Data,
              level: Annotated[float, typer.Option(min=0.5, max=0.999, help="Share of people inside.")] = 0.9,
              trained_on: Annotated[list[str] | None, typer.Option(
                  help="URI of the data set that it was trained on, if another.")] = None,
              as_json: Json = False) -> None:
    """Give a checkpoint intervals for one person, from the errors of the data set's calibration people.

    predict, serve and evaluate use them from then on.

    Example: lvray calibrate runs/seg/best --data shards
    """
    if checkpoint == DEFAULT:
        raise UseError(f"lvray's own weights stay as they are: copy the folder {located(DEFAULT)} and calibrate the"
                       " copy")
    from lvray.jobs.calibrate import calibrate as job
    from lvray.jobs.cluster import cluster

    with cluster(), console.progress("calibrate") as tell:
        made = job(checkpoint, data, trained_on=tuple(trained_on or ()), level=level, progress=tell)
    console.result(made.to_dict(), as_json, lambda m: "\n".join([
        f"{m['method']}: {100 * m['level']:.0f} % intervals of +- {m['half_g']:.1f} g around the centred estimate, from"
        f" {m['n']} calibration people",
        *(f"  {sex}: +- {half:.1f} g" for sex, half in m["half_g_by_sex"].items()),
        *(["  phantoms: of a person's heart they promise nothing"] if m["kind"] == "phantom" else [])]))


def measure(study: Annotated[str, typer.Argument(help="A folder, a zip, or a URI of one.")],
            contours: Annotated[Path | None, typer.Option(help="Folder of text contours, Sunnybrook's.")] = None,
            mask: Annotated[Path | None, typer.Option(
                help="NIfTI mask of the whole stack at end diastole: 1 cavity, 2 myocardium.")] = None,
            key: Key = None, show_paths: ShowPaths = False, as_json: Json = False) -> None:
    """LV mass from outlines that exist: contour files, a mask, or (without either) the overlays in the DICOM.

    Example: lvray measure SCD0000101 --contours SC-HF-I-1 --json
    """
    from lvray import estimate

    if contours and mask:
        raise UseError("give --contours or --mask, not both")
    if contours and not contours.is_dir():
        raise UseError("--contours: there is no folder of that name")
    if mask and not mask.is_file():
        raise UseError("--mask: there is no file of that name")
    _each([study], key_if_given(key), show_paths, as_json,
          lambda cine: (estimate.measure_contours(cine, contours) if contours else
                        estimate.measure_mask(cine, mask) if mask else estimate.measure_overlays(cine)))


def predict(studies: Annotated[list[str], typer.Argument(help="Folders, zips or URIs; with --out one source.")],
            checkpoint: Annotated[str, typer.Option(help="URI of a checkpoint, or lvray's own weights.")] = DEFAULT,
            out: Annotated[str | None, typer.Option(help="URI: predict a whole cohort into Parquet tables.")] = None,
            mask: Annotated[Path | None, typer.Option(help="Write the mask as NIfTI (one study).")] = None,
            image: Annotated[Path | None, typer.Option(help="And the images at ED that it lies on.")] = None,
            masks: Annotated[bool, typer.Option("--masks", help="A cohort's masks too, as NIfTI.")] = False,
            key: Key = None, max_rejects: MaxRejects = 0.1, sets: Set = None, show_paths: ShowPaths = False,
            as_json: Json = False, check_only: Check = False) -> None:
    """LV mass by a network, of named studies or of a cohort. Raw grams: evaluate says by how much a network is off.

    Example: lvray predict study.zip --json
    """
    checkpoint = located(checkpoint)
    if out is not None and (mask or image):
        raise UseError("--mask and --image are of one study; a cohort's masks: --masks")
    if out is not None:
        _predict_cohort(studies, out, checkpoint, masks, key, max_rejects, sets or [], as_json, check_only)
        return
    if masks or sets:
        raise UseError("--masks and --set are of a cohort: give --out too; --mask FILE is one study's mask")
    from lvray import estimate
    from lvray.cmr import nifti
    from lvray.cmr.ed import end_diastole
    from lvray.jobs.estimates import fetch

    for option, file in (("--mask", mask), ("--image", image)):
        if file is not None and len(studies) > 1:
            raise UseError(f"{option} names one file: give one study")
        if file is not None and not file.name.endswith(NIFTI):
            raise UseError(f"{option}: give a name that ends in {' or '.join(NIFTI)}")
    predictor = fetch(checkpoint)

    def one(cine: Any) -> Any:
        found = estimate.predict(cine, predictor)
        if mask is not None:
            if found.mask is None:
                raise UseError("--mask: a regressor makes no mask; give a segmenter's checkpoint")
            nifti.write(mask, found.mask, found.affine)
        if image is not None:
            nifti.write(image, end_diastole(cine).volume.image, found.affine)
        return found

    _each(studies, key_if_given(key), show_paths, as_json, one, "; a folder of several studies is predicted with --out")


def _predict_cohort(studies: list[str], out: str, checkpoint: str, masks: bool, key: Path | None, max_rejects: float,
                    sets: list[str], as_json: bool, check_only: bool) -> None:
    from lvray.jobs.predict import check, predict_cohort
    from lvray.shards.identity import load_key

    if len(studies) != 1:
        raise UseError("with --out give one source: a folder of zips or of study folders, or a data set")
    asked = recipes.override(Predict(), sets)
    if check_only:
        check(studies[0], out, checkpoint, masks)
        return
    secret = load_key(key, os.environ, out)
    with console.progress("predict") as tell:
        made, refused = predict_cohort(studies[0], out, checkpoint=checkpoint, key=secret, settings=asked, masks=masks,
                                       progress=lambda done, of, no: tell(done, of, f"{no} refused"))
    console.result({"studies": made + refused, "estimated": made, "refused": refused}, as_json,
                   lambda c: f"{c['estimated']} estimates, {c['refused']} refused, in estimates and rejects.parquet")
    refuse_many(refused, made + refused, max_rejects, "rejects.parquet says why")


def _each(studies: list[str], key: bytes | None, show_paths: bool, as_json: bool, one: Callable[[Any], Any],
          of_several: str = "") -> None:
    """Each study's estimate on stdout, or its refusal; the rest goes on. Exit code 3 when any was refused. of_several:
    what to say of a folder that may hold more than one study."""
    from lvray.cmr.study import read_cine
    from lvray.shards.listing import named
    from lvray.shards.studies import open_study

    refused = 0
    for source in [named(uri, position) for position, uri in enumerate(studies, 1)]:
        name = console.study_name(source, key, show_paths)
        try:
            with open_study(source) as study:
                value = one(read_cine(study.members)).to_dict()
            console.result({"study": source.position, "name": name, **value}, as_json, console.estimate_text)
        except StudyRefused as e:
            refused += 1
            several = source.kind == "folder" and e.reason in (Reason.NO_DICOM, Reason.SEVERAL_PATIENTS)
            console.say(f"{name}: {e}{of_several if several else ''}")
            if as_json:
                console.result({"study": source.position, "name": name, "refused": e.reason, "detail": e.detail},
                               True, str)
    if refused:
        raise typer.Exit(StudyRefused.exit_code)


def link(file: Annotated[Path, typer.Argument(help="CSV or Parquet with a participant or study column of hashes.")],
         src: Annotated[str, typer.Option(help="The source that the hashes came from.")], key: Key = None) -> None:
    """Join hashes back to participants on the user's own side: adds a column `id`. Prints CSV.

    Example: lvray link estimates.parquet --key my.key --src ukb > linked.csv
    """
    from lvray.jobs.link import link as job
    from lvray.shards.identity import load_key

    csv.writer(sys.stdout).writerows(job(file, src, load_key(key, os.environ, None)))
