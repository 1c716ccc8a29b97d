"""Options that several commands share, and what they mean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lvray import console
from lvray.errors import StudyRefused

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout, all else on stderr.")]
Key = Annotated[Path | None, typer.Option("--key", help="File with the secret key of the hashes; else LVRAY_KEY.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="A setting: name=value, dots for nested names.")]
ShowPaths = Annotated[bool, typer.Option("--show-paths", help="Name studies by path too. Paths may hold ids.")]
Data = Annotated[str, typer.Option("--data", help="URI of a data set made by tensorize.")]
Check = Annotated[bool, typer.Option("--check", hidden=True, help="Look at settings, store and data, and stop before"
                                                                  " any work. For `lvray submit`.")]
MaxRejects = Annotated[float, typer.Option("--max-rejects", min=0, max=1,
                                           help="Share of refused studies above which the exit code is 3.")]


def key_if_given(key: Path | None) -> bytes | None:
    """The key of --key or LVRAY_KEY; none is made."""
    from lvray.shards.identity import load_key

    return load_key(key, os.environ, None) if key is not None or os.environ.get("LVRAY_KEY") else None


def refuse_many(refused: int, studies: int, max_rejects: float, hint: str) -> None:
    """Exit code 3 where more studies were refused than --max-rejects allows."""
    if refused > max_rejects * studies:
        console.say(f"lvray: {refused} of {studies} studies refused, more than --max-rejects {max_rejects:g}; {hint}")
        raise typer.Exit(StudyRefused.exit_code)
