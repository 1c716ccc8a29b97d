"""The command that shows everything at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(out: Annotated[Path, typer.Option("--out", help="Folder for all that it makes.")] = Path("demo-out"),
         participants: Annotated[int, typer.Option(min=24)] = 64,
         samples: Annotated[Path | None, typer.Option(help="Sunnybrook's folders: a look at real hearts too.")] = None,
         ) -> None:
    """The whole of lvray on phantoms in minutes: DICOM, shards, both networks, evaluation, a prediction, a report.

    Example: lvray demo --out demo-out
    """
    from lvray.jobs.demo import demo as job

    job(out, participants, samples)
