"""The `lvray` command: one thin subcommand for each job. Imports of torch and Ray wait until a command needs them."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import lvray
from lvray import console, recipes
from lvray.errors import StudyRefused, UseError
from lvray.settings import Tensorize

EXITS = "Exit codes: 0 done, 1 lvray failed, 2 use, settings or data, 3 studies refused, 4 store, disk or credentials."
NO_WEIGHTS = ("no --checkpoint: lvray ships no weights yet. `lvray demo` trains demonstration weights in minutes"
              " (demo-out/seg/best); `lvray train` makes your own")

app = typer.Typer(name="lvray", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
                  pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
                  help=f"Left-ventricular mass in grams from short-axis cine cardiac MR. Research use only.\n\n{EXITS}")
shards = typer.Typer(no_args_is_help=True, help="Look at a data set of shards.")
app.add_typer(shards, name="shards")

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout, all else on stderr.")]
Key = Annotated[Path | None, typer.Option("--key", help="File with the secret key of the hashes; else LVRAY_KEY.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="A setting: name=value, dots for nested names.")]
ShowPaths = Annotated[bool, typer.Option("--show-paths", help="Name studies by path too. Paths may hold ids.")]
Data = Annotated[str, typer.Option("--data", help="URI of a data set made by tensorize.")]
MaxRejects = Annotated[float, typer.Option("--max-rejects", min=0, max=1,
                                           help="Share of refused studies above which the exit code is 3.")]


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show:
        print(lvray.__version__)
        raise typer.Exit


@app.command()
def phantom(out: Annotated[Path, typer.Option("--out", help="Folder for the zips, labels.tsv and truth.tsv.")],
            participants: Annotated[int, typer.Option(min=1)] = 24, seed: int = 0,
            phases: Annotated[int, typer.Option(min=2)] = 10,
            slices: Annotated[int, typer.Option(min=6)] = 8,
            rows: Annotated[int, typer.Option(min=64)] = 96,
            columns: Annotated[int, typer.Option(min=64)] = 96) -> None:
    """Make a phantom UK Biobank: zips of DICOM with InlineVF overlays, and a labels table.

    Example: lvray phantom --out ukb --participants 24 --seed 1
    """
    from lvray.cmr.phantom.people import PhantomOptions
    from lvray.jobs.cluster import cluster
    from lvray.jobs.phantom import make

    with cluster(), console.progress("phantom") as tell:
        make(out, participants, seed, PhantomOptions(phases, slices, rows, columns), tell)


@app.command()
def tensorize(src: Annotated[str, typer.Argument(help="URI of a folder of zips, or of study folders.")],
              dst: Annotated[str, typer.Argument(help="URI of the data set to make, or to add to.")],
              phases: Annotated[str | None, typer.Option(help="ed, or ed,es, or all: which are kept [ed].")] = None,
              labels: Annotated[str | None, typer.Option(help="Manual labels TSV [SRC/labels.tsv].")] = None,
              contours: Annotated[Path | None, typer.Option(help="Folder of text contours.")] = None,
              link: Annotated[Path | None, typer.Option(help="CSV: study name, contour folder.")] = None,
              splits: Annotated[str | None, typer.Option(help="CSV: participant id, split; the rest by hash.")] = None,
              key: Key = None, max_rejects: MaxRejects = 0.1, sets: Set = None, as_json: Json = False) -> None:
    """Turn DICOM studies into tensor shards. Again: nothing is read twice; what a killed run had done is kept.

    Example: lvray tensorize ukb shards --set splits.holdout=0.25
    """
    from lvray.jobs.tensorize import tensorize as job
    from lvray.shards.dataset import summary
    from lvray.shards.identity import load_key

    asked = recipes.override(Tensorize(), [*(sets or []), *([f"phases={phases}"] if phases else [])])
    secret = load_key(key, os.environ, dst)
    with console.progress("tensorize") as tell:
        made = job(src, dst, key=secret, settings=asked, labels=labels, contours=contours, link=link, splits=splits,
                   progress=lambda done, of, refused: tell(done, of, f"{refused} refused"))
    listed, counted = made.manifest, summary(dst)
    said = {"studies": listed.studies, "rows": listed.index.rows, "refused": listed.rejects.rows, "read": made.read,
            "absent": made.absent, "generation": listed.generation, "splits": listed.splits,
            "reject_reasons": counted["reject_reasons"], "flags": counted["flags"]}
    console.result(said, as_json, lambda s: console.tensorized_text(s, asked.quality))
    _refuse_many(made.manifest.rejects.rows, made.manifest.studies, max_rejects,
                 f"{made.manifest.rejects.name} beside the shards says why each")


def _refuse_many(refused: int, studies: int, max_rejects: float, hint: str) -> None:
    if refused > max_rejects * studies:
        console.say(f"lvray: {refused} of {studies} studies refused, more than --max-rejects {max_rejects:g}; {hint}")
        raise typer.Exit(StudyRefused.exit_code)


@shards.command("show")
def shards_show(uri: str, sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet PNG.")] = None,
                as_json: Json = False) -> None:
    """Counts, splits, flags and refusals of a data set; and its studies at a glance.

    Example: lvray shards show shards --sheet sheet.png
    """
    from lvray.jobs.sheet import write_sheet
    from lvray.shards.dataset import summary

    console.result(summary(uri), as_json, console.summary_text)
    if sheet is not None:
        write_sheet(uri, sheet)


@shards.command("verify")
def shards_verify(uri: str) -> None:
    """Recount and rehash everything in a data set.

    Example: lvray shards verify s3://bucket/shards
    """
    from lvray.shards.dataset import unlisted, verify

    found = verify(uri)
    print(f"{found.index.num_rows} rows in {len(found.manifest.shards)} shards are as the manifest lists them")
    left = unlisted(found)
    if left:
        print(f"{len(left)} files beside them are in no manifest, as interrupted runs leave them; nobody reads them;"
              " remove them while no tensorize runs")


@app.command()
def train(recipe: Annotated[str, typer.Argument(help=f"{', '.join(recipes.ALL)}, or a JSON file.")],
          data: Data, run: Annotated[str, typer.Option("--run", help="URI of the run's folder.")],
          workers: Annotated[int | None, typer.Option(min=1, help="Data-parallel workers.")] = None,
          sets: Set = None, as_json: Json = False) -> None:
    """Train a network. The same command again resumes, or returns at once when the run is done.

    Example: lvray train smoke_seg --data shards --run runs/seg --set epochs=10
    """
    from lvray.jobs.cluster import cluster
    from lvray.jobs.train import train as job

    settings = recipes.override(recipes.named(recipe), [*(sets or []), *([f"workers={workers}"] if workers else [])])
    with cluster(), console.progress(settings.name) as tell:
        made = job(settings, data, run, console.training(tell))
    console.result({"best": made.best, **made.history[-1]}, as_json,
                   lambda r: f"best checkpoint: {r['best']} (history.png beside it)")


@app.command()
def evaluate(data: Data, out: Annotated[Path, typer.Option("--out", help="Folder for report.html and report.json.")],
             checkpoint: Annotated[list[str] | None, typer.Option(help="URI of a checkpoint; one a network.")] = None,
             estimates: Annotated[Path | None, typer.Option(help="CSV: participant, grams; a method a column.")] = None,
             masks: Annotated[Path | None, typer.Option(help="Folder of NIfTI masks named by participant.")] = None,
             key: Key = None, as_json: Json = False) -> None:
    """Compare networks, InlineVF and others' estimates with the manual labels of the holdout.

    Example: lvray evaluate --data shards --checkpoint runs/seg/best --out report
    """
    from lvray.evidence.table import table
    from lvray.jobs.cluster import cluster
    from lvray.jobs.estimates import MASKS, from_csv, from_masks
    from lvray.jobs.evaluate import External, run

    secret = _key_if_given(key)
    external: External = {**(from_csv(estimates, secret) if estimates else {}),
                          **({MASKS: from_masks(masks, secret)} if masks else {})}
    with cluster(), console.progress("evaluate") as tell:
        made, page = run(data, checkpoint or [], out, external=external, described="The user's data.",
                         progress=tell)
    console.result(made.to_dict(), as_json, lambda _: f"{table(made)}\n\nreport: {page}")


@app.command()
def measure(study: Annotated[str, typer.Argument(help="A folder, a zip, or a URI of one.")],
            contours: Annotated[Path | None, typer.Option(help="Folder of text contours, Sunnybrook's.")] = None,
            mask: Annotated[Path | None, typer.Option(help="NIfTI mask: 1 cavity, 2 myocardium.")] = None,
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
    _each([study], _key_if_given(key), show_paths, as_json,
          lambda cine: (estimate.measure_contours(cine, contours) if contours else
                        estimate.measure_mask(cine, mask) if mask else estimate.measure_overlays(cine)))


@app.command()
def predict(studies: Annotated[list[str], typer.Argument(help="Folders, zips or URIs; with --out one source of many.")],
            checkpoint: Annotated[str | None, typer.Option(help="URI of a checkpoint.")] = None,
            out: Annotated[str | None, typer.Option(help="URI: predict a whole cohort into Parquet tables.")] = None,
            mask: Annotated[Path | None, typer.Option(help="Write the mask as NIfTI (one study).")] = None,
            key: Key = None, max_rejects: MaxRejects = 0.1, show_paths: ShowPaths = False,
            as_json: Json = False) -> None:
    """LV mass by a network, of named studies or of a cohort. Raw grams: evaluate says by how much a network is off.

    Example: lvray predict study.zip --checkpoint demo-out/seg/best --json
    """
    if checkpoint is None:
        raise UseError(NO_WEIGHTS)
    if out is not None:
        _predict_cohort(studies, out, checkpoint, key, max_rejects, as_json)
        return
    from lvray import estimate
    from lvray.cmr.nifti import write_mask
    from lvray.jobs.estimates import fetch

    if mask is not None and len(studies) > 1:
        raise UseError("--mask names one file: give one study")
    predictor = fetch(checkpoint)

    def one(cine: Any) -> Any:
        found = estimate.predict(cine, predictor)
        if mask is not None:
            if found.mask is None:
                raise UseError("--mask: a regressor makes no mask; give a segmenter's checkpoint")
            write_mask(mask, found.mask, found.affine)
        return found

    _each(studies, _key_if_given(key), show_paths, as_json, one)


def _predict_cohort(studies: list[str], out: str, checkpoint: str, key: Path | None, max_rejects: float,
                    as_json: bool) -> None:
    from lvray.jobs.cluster import cluster
    from lvray.jobs.predict import predict_cohort
    from lvray.shards.identity import load_key

    if len(studies) != 1:
        raise UseError("with --out give one source: a folder of zips or of study folders")
    secret = load_key(key, os.environ, out)
    with cluster(), console.progress("predict") as tell:
        made, refused = predict_cohort(studies[0], out, checkpoint=checkpoint, key=secret,
                                       progress=lambda done, of, no: tell(done, of, f"{no} refused"))
    console.result({"studies": made + refused, "estimated": made, "refused": refused}, as_json,
                   lambda c: f"{c['estimated']} estimates, {c['refused']} refused, in estimates and rejects.parquet")
    _refuse_many(refused, made + refused, max_rejects, "rejects.parquet says why")


def _each(studies: list[str], key: bytes | None, show_paths: bool, as_json: bool, one: Callable[[Any], Any]) -> None:
    """Each study's estimate on stdout, or its refusal; the rest goes on. Exit code 3 when any was refused."""
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
            console.say(f"{name}: {e}")
            if as_json:
                console.result({"study": source.position, "name": name, "refused": e.reason, "detail": e.detail},
                               True, str)
    if refused:
        raise typer.Exit(StudyRefused.exit_code)


def _key_if_given(key: Path | None) -> bytes | None:
    from lvray.shards.identity import load_key

    return load_key(key, os.environ, None) if key is not None or os.environ.get("LVRAY_KEY") else None


@app.command()
def serve(checkpoint: Annotated[str, typer.Option(help="URI of a checkpoint.")],
          port: Annotated[int, typer.Option(help="On loopback.")] = 8000) -> None:
    """Answer POST /v1/estimate (a zip) with what predict says; GET /healthz. Ctrl-C ends it.

    Example: lvray serve --checkpoint demo-out/seg/best
    """
    from lvray.jobs.cluster import cluster
    from lvray.serving.app import run

    with cluster():
        run(checkpoint, port=port)


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def tune() -> None:
    """Search the learning-rate decay. Not in this version yet.

    Example: lvray train paper_seg --data shards --run runs/seg --set optimiser.gamma=0.97
    """
    raise UseError("tune comes with a later version; until then: lvray train RECIPE ... --set optimiser.gamma=0.97")


@app.command()
def link(file: Annotated[Path, typer.Argument(help="CSV or Parquet with a participant or study column of hashes.")],
         src: Annotated[str, typer.Option(help="The source that the hashes came from.")], key: Key = None) -> None:
    """Join hashes back to participants on the user's own side: adds a column `id`. Prints CSV.

    Example: lvray link estimates.parquet --key my.key --src ukb > linked.csv
    """
    from lvray.jobs.link import link as job
    from lvray.shards.identity import load_key

    csv.writer(sys.stdout).writerows(job(file, src, load_key(key, os.environ, None)))


@app.command()
def demo(out: Annotated[Path, typer.Option("--out", help="Folder for all that it makes.")] = Path("demo-out"),
         participants: Annotated[int, typer.Option(min=24)] = 64,
         samples: Annotated[Path | None, typer.Option(help="Sunnybrook's folders: a look at real hearts too.")] = None,
         ) -> None:
    """The whole of lvray on phantoms in minutes: DICOM, shards, both networks, evaluation, a prediction, a report.

    Example: lvray demo --out demo-out
    """
    from lvray.jobs.demo import demo as job

    job(out, participants, samples)


def main() -> None:
    sys.exit(console.run(lambda: app(standalone_mode=False)))
