"""The command that searches settings, and how it shows the trials."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from lvray import console
from lvray import recipes as all_recipes
from lvray.cli.options import Check, Data, Json, Set
from lvray.cli.training import Tracker, workers_of

if TYPE_CHECKING:
    from lvray.jobs.tune import Standing

HEADINGS = ("trial", "state", "epoch", "validation", "values")


def tune(recipe: Annotated[str, typer.Argument(help=f"{', '.join(all_recipes.ALL)}, or a JSON file.")],
         data: Data, run: Annotated[str, typer.Option("--run", help="URI of the search's folder.")],
         trials: Annotated[int, typer.Option(min=1, help="Trials; more than before goes on with a search.")] = 8,
         concurrent: Annotated[int, typer.Option(min=1, help="Trials at a time.")] = 1,
         space: Annotated[Path | None, typer.Option(help="JSON: what to search [optimiser.gamma].")] = None,
         seed: Annotated[int, typer.Option(min=0, help="Of the proposals.")] = 0,
         workers: Annotated[str, typer.Option(metavar="N|N..M", help="Workers of a trial.")] = "1",
         sets: Set = None,
         track: Annotated[list[Tracker] | None, typer.Option(help="Send each trial's metrics there too.")] = None,
         as_json: Json = False, check_only: Check = False) -> None:
    """Search the learning-rate decay, or whatever --space says. The same command again goes on with the search.

    Trial 0 is the recipe itself; what does badly is stopped early. The winner's settings come out as recipe.json.

    Example: lvray tune paper_seg --data shards --run runs/search --trials 8
    """
    least, most = workers_of(workers)
    settings = all_recipes.override(all_recipes.named(recipe), sets or [])
    all_recipes.check_workers(settings, most)
    from lvray.jobs import space as spaces
    from lvray.jobs.cluster import cluster
    from lvray.jobs.tune import check
    from lvray.jobs.tune import tune as job

    searched = spaces.read(space)
    check(settings, data, run, searched, seed, most)  # before Ray starts, which takes a while
    if check_only:
        return
    with cluster(), shown(settings.name) as tell:
        made = job(settings, data, run, searched, trials=trials, concurrent=concurrent, workers=(least, most),
                   seed=seed, track=tuple(track or ()), tell=tell)
    console.result({"best_checkpoint": made.best, **made.summary}, as_json, text)


@contextmanager
def shown(title: str) -> Iterator[Callable[[Sequence[Standing]], None]]:
    """The trials as a table that stands on a terminal; elsewhere a line whenever one begins or ends."""
    states: dict[int, str] = {}
    with Live(console=console.err, refresh_per_second=2, auto_refresh=console.err.is_terminal) as live:

        def tell(trials: Sequence[Standing]) -> None:
            if console.err.is_terminal:
                live.update(_table(trials))
                return
            for at in trials:
                if states.get(at.number) != at.state:
                    states[at.number] = at.state
                    console.say(f"{title}: trial {at.number} {at.state}, {', '.join(_cells(at)[2:])}")

        yield tell


def _table(trials: Sequence[Standing]) -> Table:
    table = Table(*HEADINGS)
    for at in trials:
        table.add_row(*_cells(at))
    return table


def _cells(at: Standing) -> tuple[str, ...]:
    """Under HEADINGS."""
    return (str(at.number), at.state, f"epoch {at.epoch}", "–" if at.score is None else f"validation {at.score:.4g}",
            _values(at.values))


def _values(values: dict[str, Any]) -> str:
    return " ".join(f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={json.dumps(value)}"
                    for name, value in values.items())


def text(made: dict[str, Any]) -> str:
    """A search's result for people."""
    lines = [f"{'trial':>5}  {'state':8}{'epochs':>7}{'validation':>12}  values"]
    for at in made["trials"]:
        score = "–" if at["validation_loss"] is None else f"{at['validation_loss']:.5g}"
        lines.append(f"{at['trial']:5}  {at['state']:8}{at['epochs']:7}{score:>12}  {_values(at['values'])}"
                     + (f"  ({at['why']})" if "why" in at else ""))
    best = made["best"]
    return "\n".join([*lines, "", f"best: trial {best['trial']}, {_values(best['values'])}, validation loss"
                       f" {best['validation_loss']:.5g} after epoch {best['epoch']};"
                       f" {made['epochs']} epochs instead of {made['epochs_of_full_runs']}",
                       f"best checkpoint: {made['best_checkpoint']} (recipe.json, for `lvray train`, and tune.png"
                       " beside it)"])
