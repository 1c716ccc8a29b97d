"""The command that has a cluster run another command, as a Ray job."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

import lvray
from lvray import console
from lvray.cli import parcel
from lvray.cli.options import Json
from lvray.errors import UseError

if TYPE_CHECKING:
    from lvray.jobs.submission import End, Job

JOBS = ("tensorize", "train", "tune", "evaluate", "predict")
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
GUARD = ('v=$(lvray --version 2>/dev/null) || v=none; [ "$v" = {version} ] || {{ echo "lvray: the cluster has lvray $v,'
         ' and {version} looked the command over: submit with the same version, or --ship"; exit 2; }}; exec ')
"""The job's first act, whatever lvray is there."""


def submit(context: typer.Context,
           command: Annotated[list[str], typer.Argument(metavar="COMMAND ARGS...", show_default=False,
                                                        help=f"{', '.join(JOBS)}, and what it takes.")],
           address: Annotated[str | None, typer.Option(metavar="URL", help="The cluster's dashboard; else"
                                                                           " RAY_ADDRESS.")] = None,
           ship: Annotated[bool, typer.Option("--ship", help="Send this lvray along, instead of the image's: its code,"
                                                             " not what it needs.")] = False,
           env: Annotated[list[str] | None, typer.Option(
               metavar="NAME", help="A variable of this environment that the job is to have, as AWS_ENDPOINT_URL. It"
                                    " stands on the dashboard: no secrets.")] = None,
           as_json: Json = False) -> None:
    """Have a cluster run a command as a Ray job, follow its log, and exit with its exit code.

    Settings, store and data are looked over here first. Files that the command names (a recipe, --space, --splits ...)
    are sent along; a key and the store's credentials never: those are the cluster's. Ctrl-C asks whether to stop the
    job; where there is no terminal, it runs on. Exit code 130: left, and the job runs on.

    Example: lvray submit --address http://HEAD:8265 train paper_seg --data s3://bucket/shards --run s3://bucket/runs/a
    """
    where = _address(address)
    called, *arguments = command
    commands: Any = context.find_root().command
    if called not in JOBS:
        raise UseError(f"{called} is no job; jobs are {', '.join(JOBS)}")
    job = commands.commands[called]
    asked = job.make_context(called, arguments, parent=context.find_root())
    values = parcel.given(asked)
    if called == "predict" and "out" not in values:
        raise UseError("predict: without --out it answers on the spot, which is no job")
    variables = {name: _variable(name) for name in env or []}
    parcel.check_places(job, values)
    with tempfile.TemporaryDirectory() as folder:
        packed = parcel.pack(job, values, Path(folder))
        asked.params["check_only"] = True
        with asked:
            job.invoke(asked)
        from lvray.jobs.submission import Job, Order, connect

        line = shlex.join(["lvray", called, *parcel.line(job, packed)])
        runtime_env: dict[str, Any] = {"env_vars": variables} if variables else {}
        if any(Path(folder).iterdir()):
            runtime_env["working_dir"] = folder
        if ship:
            runtime_env |= {"py_modules": [str(Path(lvray.__file__).parent)], "excludes": ["__pycache__"]}
        sent = Job.send(connect(where), Order(
            _name(called, packed), GUARD.format(version=lvray.__version__) + line, _metadata(called, packed),
            runtime_env))
    until_its_end(sent, where, as_json)


def _address(given: str | None) -> str:
    address = given or os.environ.get("RAY_ADDRESS")
    if not address:
        raise UseError("no cluster: give --address http://HEAD:8265, or set RAY_ADDRESS to it")
    with suppress(ValueError):
        at = urlsplit(address)
        if at.scheme in ("http", "https") and at.hostname and at.port != 0:
            return address
    raise UseError(f"{'--address' if given else 'RAY_ADDRESS'}: the URL of the cluster's dashboard is wanted, as in"
                   " http://HEAD:8265")


def _variable(name: str) -> str:
    if SECRET.search(name):
        raise UseError(f"--env {name}: a job's variables stand on the dashboard: let the cluster have it itself")
    if name not in os.environ:
        raise UseError(f"--env {name}: no such variable here")
    return os.environ[name]


def _name(called: str, values: dict[str, Any]) -> str:
    """lvray-train-paper_seg-20270131-120000-1f3a."""
    recipe = re.sub(r"\W+", "-", values.get("recipe", "")).removesuffix("-json")
    return "-".join(filter(None, ["lvray", called, recipe, time.strftime("%Y%m%d-%H%M%S"), secrets.token_hex(2)]))


def _metadata(called: str, values: dict[str, Any]) -> dict[str, str]:
    known = {"recipe": "recipe", "run": "run", "dst": "data", "data": "data", "out": "out"}
    return {"lvray": lvray.__version__, "command": called,
            **{name: str(values[key]) for key, name in known.items() if key in values}}


def until_its_end(job: Job, address: str, as_json: bool) -> None:
    """Follow the job. Exits with its code."""
    out = sys.stderr if as_json else sys.stdout

    def emit(text: str) -> None:
        print(text, end="", file=out, flush=True)

    console.say(f"lvray: job {job.id}")
    _tell(job, "PENDING", None, as_json)
    stopping = False
    while True:
        try:
            end = job.follow(emit)
            break
        except KeyboardInterrupt:
            if stopping or not _stop_wanted():
                _leave(job, address, as_json)
            job.stop()
            stopping = True
            console.say("lvray: the job is told to end, and saves first; Ctrl-C leaves it to that")
    _ended(job, end, as_json)


def _stop_wanted() -> bool:
    """Asked on a terminal; elsewhere no."""
    if not _terminal():
        return False
    try:
        return typer.confirm("\nStop the job? Without an answer, or with no, it runs on", err=True)
    except (typer.Abort, KeyboardInterrupt):
        return False


def _terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _leave(job: Job, address: str, as_json: bool) -> None:
    console.say(f"\nlvray: job {job.id} runs on\n"
                f"  follow it: ray job logs --follow --address {address} {job.id}\n"
                f"  stop it:   ray job stop --address {address} {job.id}")
    _tell(job, "RUNNING", None, as_json)
    raise typer.Exit(console.INTERRUPTED)


def _ended(job: Job, end: End, as_json: bool) -> None:
    _tell(job, end.status, end.exit_code, as_json)
    console.say(f"lvray: job {job.id}: " + (end.why or f"{end.status.lower()}, exit code {end.exit_code}"))
    raise typer.Exit(end.exit_code)


def _tell(job: Job, status: str, exit_code: int | None, as_json: bool) -> None:
    if as_json:
        console.result({"submission_id": job.id, "status": status, "exit_code": exit_code}, True, str)
