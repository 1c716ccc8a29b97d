"""The command that answers requests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lvray import recipes
from lvray.cli.options import Set
from lvray.settings import Serve
from lvray.weights.own import DEFAULT


def serve(checkpoint: Annotated[list[str] | None, typer.Option(
              help="URI of a checkpoint; one a network [lvray's own].")] = None,
          host: Annotated[str, typer.Option(help="Any other than loopback asks for keys.")] = "127.0.0.1",
          port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
          keys: Annotated[Path | None, typer.Option(
              help="File of API keys, one a line, read again when it changes; else LVRAY_API_KEYS, between commas. Each"
                   " of 16 characters or more.")] = None,
          sets: Set = None) -> None:
    """Answer POST /v1/estimate (a zip) with what predict says; GET /openapi.json says the rest. Ctrl-C ends it.

    Example: lvray serve --checkpoint runs/seg/best --checkpoint runs/reg/best
    """
    settings = recipes.override(Serve(), sets or [])
    from lvray.jobs.cluster import cluster
    from lvray.serving.app import arguments, run

    asked = arguments(checkpoint or [DEFAULT], keys, host, settings)
    with cluster():
        run(asked, host, port)
