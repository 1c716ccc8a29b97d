"""The `lvray` command: one thin subcommand for each job. Imports of torch and Ray wait until a command needs them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

import lvray
from lvray import console
from lvray.cli import checkpoint, data, demo, estimates, searching, serving, submitting, training

EXITS = ("Exit codes: 0 done, 1 lvray failed, 2 use, settings or data, 3 studies refused, 4 store, disk or"
         " credentials, 143 told to end (SIGTERM), all saved.")

app = typer.Typer(name="lvray", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
                  pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
                  help=f"Left-ventricular mass in grams from short-axis cine cardiac MR. Research use only.\n\n{EXITS}")


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show:
        print(lvray.__version__)
        raise typer.Exit


COMMANDS: tuple[Callable[..., None], ...] = (
    data.phantom, data.generate, data.tensorize, training.train, searching.tune, training.recipes, estimates.calibrate,
    estimates.evaluate,    estimates.measure, estimates.predict, serving.serve, estimates.link, demo.demo)
for command in COMMANDS:
    app.command()(command)
app.command(context_settings={"allow_interspersed_args": False})(submitting.submit)
app.add_typer(data.shards, name="shards")
app.add_typer(checkpoint.checkpoint, name="checkpoint")


def main() -> None:
    sys.exit(console.run(lambda: app(standalone_mode=False)))
