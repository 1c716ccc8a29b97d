"""Commands that make a data set, and that look at one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lvray import console, recipes
from lvray.cli.options import Check, Json, Key, MaxRejects, Set, refuse_many
from lvray.settings import Splits, Tensorize

shards = typer.Typer(no_args_is_help=True, help="Look at a data set of shards.")


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


def generate(out: Annotated[str, typer.Option("--out", help="URI of the data set to make.")],
             hearts: Annotated[int, typer.Option(min=1)] = 4000, seed: Annotated[int, typer.Option(min=0)] = 0,
             sets: Set = None, as_json: Json = False) -> None:
    """Make a data set of random hearts with exact masks, to train a segmenter that meets real ones.

    Example: lvray generate --out shards --hearts 4000 --seed 0
    """
    from lvray.jobs.cluster import cluster
    from lvray.jobs.generate import generate as job

    asked = recipes.override(Tensorize(splits=Splits(validation=0.05, calibration=0, holdout=0)), sets or [])
    with cluster(), console.progress("generate") as tell:
        made = job(out, hearts, seed, asked, tell)
    said = {"hearts": hearts, "rows": made.index.rows, "splits": made.splits, "seed": seed}
    console.result(said, as_json, console.generated_text)


def tensorize(src: Annotated[str, typer.Argument(help="URI of a folder of zips, or of study folders.")],
              dst: Annotated[str, typer.Argument(help="URI of the data set to make, or to add to.")],
              phases: Annotated[str | None, typer.Option(help="ed, or ed,es, or all: which are kept [ed].")] = None,
              labels: Annotated[str | None, typer.Option(help="Manual labels TSV [SRC/labels.tsv].")] = None,
              contours: Annotated[Path | None, typer.Option(help="Folder of text contours.")] = None,
              link: Annotated[Path | None, typer.Option(help="CSV: study name, contour folder.")] = None,
              splits: Annotated[str | None, typer.Option(help="CSV: participant id, split; the rest by hash.")] = None,
              key: Key = None, max_rejects: MaxRejects = 0.1, sets: Set = None, as_json: Json = False,
              check_only: Check = False) -> None:
    """Turn DICOM studies into tensor shards. Again: nothing is read twice; what a killed run had done is kept.

    Example: lvray tensorize ukb shards --set splits.holdout=0.25
    """
    from lvray.jobs.tensorize import check
    from lvray.jobs.tensorize import tensorize as job
    from lvray.shards.dataset import summary
    from lvray.shards.identity import load_key

    asked = recipes.override(Tensorize(), [*(sets or []), *([f"phases={phases}"] if phases else [])])
    if check_only:
        check(src, dst, settings=asked, labels=labels, contours=contours, link=link, splits=splits)
        return
    secret = load_key(key, os.environ, dst)
    with console.progress("tensorize") as tell:
        made = job(src, dst, key=secret, settings=asked, labels=labels, contours=contours, link=link, splits=splits,
                   progress=lambda done, of, refused: tell(done, of, f"{refused} refused"))
    listed, counted = made.manifest, summary(dst)
    said = {"studies": listed.studies, "rows": listed.index.rows, "refused": listed.rejects.rows, "read": made.read,
            "absent": made.absent, "generation": listed.generation, "splits": listed.splits,
            "reject_reasons": counted["reject_reasons"], "flags": counted["flags"]}
    console.result(said, as_json, lambda s: console.tensorized_text(s, asked.quality))
    refuse_many(made.manifest.rejects.rows, made.manifest.studies, max_rejects,
                 f"{made.manifest.rejects.name} beside the shards says why each")


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
