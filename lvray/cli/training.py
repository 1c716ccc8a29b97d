"""Commands that train networks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer

from lvray import console
from lvray import recipes as all_recipes
from lvray.cli.options import Check, Data, Json, Set
from lvray.errors import UseError
from lvray.settings import Recipe
from lvray.weights.own import located

WORKERS = re.compile(r"(\d+)(?:\.\.(\d+))?")


class Tracker(StrEnum):
    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"


def train(recipe: Annotated[str, typer.Argument(help=f"{', '.join(all_recipes.ALL)}, or a JSON file.")],
          data: Data, run: Annotated[str, typer.Option("--run", help="URI of the run's folder.")],
          workers: Annotated[str, typer.Option(metavar="N|N..M", help="Workers: N, or N to M as room allows.")] = "1",
          sets: Set = None,
          start: Annotated[str | None, typer.Option("--from", help="URI of a checkpoint whose weights it begins"
                                                    " with; default: lvray's own.")] = None,
          resume: Annotated[bool, typer.Option("--resume", help="Only go on with a run that has begun.")] = False,
          track: Annotated[list[Tracker] | None, typer.Option(help="Send the metrics there too.")] = None,
          as_json: Json = False, check_only: Check = False) -> None:
    """Train a network. The same command again goes on from the last checkpoint, or returns at once when all is done.

    SIGTERM saves where the run stands, then ends it with exit code 143: it loses no step.

    Example: lvray train fast_seg --data shards --run runs/seg --workers 2
    """
    least, most = workers_of(workers)
    settings = all_recipes.override(all_recipes.named(recipe), sets or [])
    all_recipes.check_workers(settings, most)
    from lvray.jobs.cluster import cluster
    from lvray.jobs.train import check
    from lvray.jobs.train import train as job

    first: dict[str, bytes] = {}
    if start is not None:
        from lvray.jobs import checkpoints
        from lvray.jobs.start import of

        settings, first = of(settings, checkpoints.read(located(start)))
    check(settings, data, run, resume)  # before Ray starts, which takes a while
    _warn(settings, sets or [], data, least)
    if check_only:
        return
    with cluster(), console.training(settings.name) as tell:
        made = job(settings, data, run, workers=(least, most), resume=resume, track=tuple(track or ()), tell=tell,
                   first=first)
    if made.set_aside:
        console.say(f"lvray: {made.set_aside} studies have more slices than network.box and were left out")
    console.result({"best": made.best, **made.history[-1]}, as_json,
                   lambda r: f"best checkpoint: {r['best']} (report.html beside it)")


def workers_of(text: str) -> tuple[int, int]:
    """Fewest and most, of "2" or "2..4"."""
    found = WORKERS.fullmatch(text)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most:
        raise UseError("--workers: a number from 1 on is wanted, or two as in 2..4, fewest and most")
    return least, most


def _warn(recipe: Recipe, sets: Sequence[str], data: str, workers: int) -> None:
    """A line on stderr for each setting by hand that changes nothing."""
    if not sets:
        return
    from lvray.jobs.selection import selected
    from lvray.shards.dataset import open_dataset

    dataset = open_dataset(data)
    validation_rows = len(selected(dataset, recipe).validation)
    for line in all_recipes.without_effect(recipe, sets, workers=workers, validation_rows=validation_rows):
        console.say(f"lvray: warning: --set {line}")


def recipes(name: Annotated[str | None, typer.Argument(help="A recipe, or a JSON file [all of them].")] = None,
            as_json: Json = False) -> None:
    """The recipes that `train` knows, or all settings of one. With --json a file that `train` takes.

    Example: lvray recipes fast_seg --json > mine.json
    """
    if name is None:
        width = max(map(len, all_recipes.ALL))
        console.result(all_recipes.described(), as_json,
                       lambda found: "\n".join(f"{name:{width}}  {what}" for name, what in found.items()))
        return
    recipe = all_recipes.named(name)
    if as_json:
        console.result(recipe.model_dump(mode="json"), True, str)
    else:
        print("\n".join(f"{name}={json.dumps(value, separators=(',', ':'))}"
                        for name, value in all_recipes.flat(recipe).items()))
