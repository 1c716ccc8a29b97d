"""The command that answers requests."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(checkpoint: Annotated[str, typer.Option(help="URI of a checkpoint.")],
          port: Annotated[int, typer.Option(help="On loopback.")] = 8000) -> None:
    """Answer POST /v1/estimate (a zip) with what predict says; GET /healthz. Ctrl-C ends it.

    Example: lvray serve --checkpoint demo-out/seg/best
    """
    from lvray.jobs.cluster import cluster
    from lvray.serving.app import run

    with cluster():
        run(checkpoint, port=port)
