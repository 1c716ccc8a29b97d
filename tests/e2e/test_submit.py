"""`scripts/submit` against real heads of Ray: the five jobs, exit codes, tokens, Ctrl-C, and all that may go wrong."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write
from lvray.shards import storage
from tests.chaos.nodes import Cluster
from tests.conftest import Said
from tests.jobs.conftest import small, tiny_dataset
from tests.weed import Weed

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SUBMIT = ROOT / "scripts" / "submit"
BIN = Path(sys.executable).parent
KEY = "a key for tests, 32 bytes long.."
SECONDS = 240
SOON = 120
"""Within which an error is to be said: a minute, twice for a machine that does other things besides."""
RAYS_OWN = re.compile(r".*INFO job_manager.py.*|Running entrypoint for job .*")
"""Of the lines of a job's log."""


@pytest.fixture(scope="module")
def store(weed: Weed) -> Iterator[str]:
    """A prefix of the store, with a data set `data` of rows and `ukb`, six phantoms' DICOM; the variables point there
    while the module runs."""
    with pytest.MonkeyPatch.context() as env:
        for name, value in {**weed.environment(), "AWS_EC2_METADATA_DISABLED": "true"}.items():
            env.setenv(name, value)
        for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "LVRAY_KEY", "AWS_PROFILE"):
            env.delenv(name, raising=False)
        tiny_dataset("s3://lvray/submit/data", 12)
        yield "s3://lvray/submit"


@pytest.fixture(scope="module")
def ukb(store: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The participants of SRC `ukb`: eight studies; a ninth is no zip."""
    folder = tmp_path_factory.mktemp("ukb")
    write(folder, 8, 3, PhantomOptions(phases=2, slices=6, rows=64, columns=64))
    (folder / "9999999_20209_2_0.zip").write_bytes(b"no zip")
    for file in folder.iterdir():
        storage.write_atomic(f"{store}/ukb/{file.name}", file.read_bytes(), "a study")
    return sorted(file.name.partition("_")[0] for file in folder.glob("*.zip"))[:-1]


def node(more: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "RAY_JOB_STOP_WAIT_TIME_S": "60", **more}


@pytest.fixture(scope="module")
def head(store: str) -> Iterator[Cluster]:
    """Asks for a token; has the key and the store's credentials."""
    with Cluster(2, node({"LVRAY_KEY": KEY}), dashboard=True) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def bare(store: str) -> Iterator[Cluster]:
    """Asks for no token; has neither the key nor the store's credentials."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as env:
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                env.delenv(name)
            cluster = stack.enter_context(Cluster(2, node({}), dashboard=True, token=False))
        yield cluster


def submit(cluster: Cluster, *arguments: object, env: Mapping[str, str | None] = {}, url: str = "") -> Said:
    done = subprocess.run([SUBMIT, "--address", url or cluster.dashboard_url, *map(str, arguments)], text=True,
                          capture_output=True, check=False, timeout=SECONDS, env=environment(cluster, env))
    return Said(done.returncode, done.stdout, done.stderr)


def environment(cluster: Cluster, more: Mapping[str, str | None] = {}) -> dict[str, str]:
    """Of a submitter."""
    whole = {**os.environ, "PYTHONPATH": str(ROOT), **cluster.environment, "RAY_ADDRESS": None, **more}
    return {name: value for name, value in whole.items() if value is not None}


def jobs(cluster: Cluster) -> list[dict[str, Any]]:
    """All that the dashboard shows of jobs."""
    token = cluster.environment.get("RAY_AUTH_TOKEN")
    asked = urllib.request.Request(f"{cluster.dashboard_url}/api/jobs/",
                                   headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(asked, timeout=SOON) as answer:
        found: list[dict[str, Any]] = json.load(answer)
    return found


def own_lines(said: Said) -> list[str]:
    """What the command in the job said."""
    return [line for line in said.out.splitlines() if not RAYS_OWN.fullmatch(line)]


def training(store: str, folder: Path, run: str, *sets: str, data: str = "data") -> list[object]:
    """A command with a recipe of the submitter's own."""
    recipe = folder / "mine.json"
    recipe.write_text(small("seg", "epochs=2", "stream.batch=2", "stream.lanes=2", *sets).model_dump_json())
    return ["train", recipe, "--data", f"{store}/{data}", "--run", f"{store}/{run}"]


def test_all_five_jobs(head: Cluster, store: str, ukb: list[str], tmp_path: Path) -> None:
    """With a recipe, a space and a table of people from this machine; key and credentials are the cluster's alone."""
    splits = ["train"] * 4 + ["validation"] + ["holdout"] * 3
    table, space = tmp_path / "splits.csv", tmp_path / "space.json"
    table.write_text("id,split\n" + "".join(f"{who},{split}\n" for who, split in zip(ukb, splits, strict=True)))
    space.write_text('{"optimiser.lr": {"low": 0.001, "high": 0.01}}')
    run = training(store, tmp_path, "run", data="shards")
    commands: dict[str, list[object]] = {
        "tensorize": [f"{store}/ukb", f"{store}/shards", "--splits", table, "--max-rejects", "0"],
        "train": run[1:],
        "evaluate": ["--data", f"{store}/shards", "--checkpoint", f"{store}/run/best", "--out", f"{store}/report"],
        "predict": [f"{store}/ukb", "--checkpoint", f"{store}/run/best", "--out", f"{store}/out", "--max-rejects", "1"],
        "tune": [*run[1:3], f"{store}/shards", "--run", f"{store}/search", "--trials", "1", "--space", space]}
    said = {name: submit(head, name, *rest) for name, rest in commands.items()}
    assert {name: one.code for name, one in said.items()} == {
        "tensorize": 3, "train": 0, "evaluate": 0, "predict": 0, "tune": 0}, said
    assert "9 studies: 8 rows (3 holdout, 4 train, 1 validation), 1 refused" in said["tensorize"].out
    assert f"best checkpoint: {store}/run/best" in said["train"].out
    assert f"report: {store}/report/report.html" in said["evaluate"].out
    assert storage.read_bytes(f"{store}/report/report.html", "the report").startswith(b"<!doctype html>")
    assert "8 estimates, 1 refused" in said["predict"].out
    assert "best: trial 0, optimiser.lr=" in said["tune"].out
    shown = {job["metadata"]["command"]: job for job in jobs(head) if job["metadata"].get("run") != f"{store}/other"}
    assert set(commands) <= shown.keys()
    assert shown["train"]["metadata"] | {"job_submission_id": "", "job_name": ""} == {
        "lvray": "0.1.0", "command": "train", "recipe": "recipe.json", "data": f"{store}/shards", "run": f"{store}/run",
        "job_submission_id": "", "job_name": ""}
    logs = b"".join(file.read_bytes() for file in head.folder.rglob("*") if file.is_file() and "logs" in file.parts)
    assert b"tensorize" in logs
    everything = f"{jobs(head)} {said} {logs.decode(errors='replace')}"
    assert not [secret for secret in (KEY, "may-do-anything", head.environment["RAY_AUTH_TOKEN"], *ukb)
                if secret in everything]


def fake(folder: Path, script: str) -> dict[str, str]:
    """A PATH with another `lvray` at its beginning."""
    (folder / "lvray").write_text(f"#!{BIN}/python\n{script}")
    (folder / "lvray").chmod(0o755)
    return {"PATH": f"{folder}:{BIN}:{os.environ['PATH']}"}


VERSION = "import os, sys\nif '--version' in sys.argv: print('0.1.0'); sys.exit()\n"
OTHERS: dict[str, tuple[str, int, str]] = {
    "version": ("print('0.0.9')", 2, "lvray: the cluster has lvray 0.0.9, and 0.1.0 looked the command over: submit"
                                     " with the same version, or --ship"),
    "none": ("raise SystemExit(127)", 2, "lvray: the cluster has lvray none, and 0.1.0 looked"),
    "recipe": (VERSION + "from lvray import cli, recipes; del recipes.ALL['smoke_seg']; cli.main()", 2,
               "lvray: no recipe of that name; there are: paper_reg"),
    "fault": (VERSION + "sys.exit('lvray: internal error')", 1, "lvray: internal error"),
    "killed": (VERSION + "print('lvray: killed', flush=True); os.kill(os.getpid(), 9)", 137, "lvray: killed")}


@pytest.mark.parametrize("what", OTHERS)
def test_another_lvray_in_the_image(head: Cluster, store: str, tmp_path: Path, what: str) -> None:
    script, code, says = OTHERS[what]
    began = time.monotonic()
    said = submit(head, "--env", "PATH", "--json", "train", "smoke_seg", "--data", f"{store}/data", "--run",
                  f"{store}/other", env=fake(tmp_path, script))
    assert time.monotonic() - began < SOON
    assert said.code == said.objects()[-1]["exit_code"] == code, said
    own = [line for line in said.err.splitlines() if not RAYS_OWN.fullmatch(line)][1:-1]
    assert len(own) == 1
    assert own[0].startswith(says)


def test_ship_sends_the_clones_lvray(head: Cluster, store: str, tmp_path: Path) -> None:
    """The clone is another version than the image."""
    shutil.copytree(ROOT / "lvray", tmp_path / "lvray", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "lvray" / "__init__.py").write_text('"""A later one."""\n\n__version__ = "0.1.1"\n')
    clone = {"PYTHONPATH": str(tmp_path)}
    said = submit(head, *training(store, tmp_path, "shipped", "epochs=1"), env=clone)
    assert (said.code, len(own_lines(said))) == (2, 1), said
    assert "the cluster has lvray 0.1.0, and 0.1.1 looked the command over" in said.out
    said = submit(head, "--ship", *training(store, tmp_path, "shipped", "epochs=1"), env=clone)
    assert said.code == 0, said
    assert json.loads(storage.read_bytes(f"{store}/shipped/run.json", "the run"))["code"] == "0.1.1"


def test_a_store_that_the_cluster_does_not_reach(head: Cluster, store: str) -> None:
    """As this machine does by another endpoint."""
    began = time.monotonic()
    said = submit(head, "--env", "AWS_ENDPOINT_URL", "train", "smoke_seg", "--data", f"{store}/data", "--run",
                  f"{store}/other", env={"AWS_ENDPOINT_URL_S3": os.environ["AWS_ENDPOINT_URL"],
                                         "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert time.monotonic() - began < SOON
    assert said.code == 4, said
    (line,) = own_lines(said)
    assert line.endswith("no S3 answers there: check AWS_ENDPOINT_URL")


@pytest.mark.parametrize(("command", "code", "says"), [
    (["train", "smoke_seg", "--data", "STORE/data", "--run", "STORE/other"], 4, "set AWS_ACCESS_KEY_ID and"),
    (["tensorize", "STORE/ukb", "STORE/keyless"], 2, "an object store needs a key that every machine shares")])
def test_a_cluster_without_credentials_or_key(bare: Cluster, store: str, ukb: list[str], command: list[str], code: int,
                                              says: str) -> None:
    """It asks for no token; whoever has one may submit all the same."""
    began = time.monotonic()
    said = submit(bare, *(part.replace("STORE", store) for part in command),
                  env={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5" * 64})
    assert time.monotonic() - began < SOON
    assert said.code == code, said
    (line,) = own_lines(said)
    assert line.startswith("lvray: ")
    assert says in line


@pytest.mark.parametrize(("mode", "token", "says"), [
    ("disabled", None, "lvray: the head wants a token: set RAY_AUTH_MODE=token"),
    ("token", None, "lvray: the head wants a token: set RAY_AUTH_MODE=token"),
    ("token", "5" * 64, "lvray: the head refuses this token: set RAY_AUTH_TOKEN")])
def test_a_head_that_wants_a_token(head: Cluster, store: str, tmp_path: Path, mode: str, token: str | None,
                                   says: str) -> None:
    refused(head, store, says, env={"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": token, "HOME": str(tmp_path)})


def test_nobody_at_the_address(head: Cluster, store: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        refused(head, store, "lvray: no Ray head answers at --address", f"http://127.0.0.1:{taken.getsockname()[1]}")


def test_the_store_is_no_dashboard(head: Cluster, store: str) -> None:
    refused(head, store, "lvray: what answers at --address is no Ray dashboard", os.environ["AWS_ENDPOINT_URL"])


def refused(cluster: Cluster, store: str, says: str, url: str = "", env: Mapping[str, str | None] = {}) -> None:
    """One line, soon."""
    began = time.monotonic()
    said = submit(cluster, "train", "smoke_seg", "--data", f"{store}/data", "--run", f"{store}/other", url=url, env=env)
    assert time.monotonic() - began < SOON
    assert (said.code, said.out, said.err.count("\n")) == (4, "", 1), said
    assert said.err.startswith(says)


class Terminal:
    """`scripts/submit` on a terminal of its own."""

    def __init__(self, cluster: Cluster, *arguments: object) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [SUBMIT, "--address", cluster.dashboard_url, *map(str, arguments)], stdin=theirs, stdout=theirs,
            stderr=theirs, start_new_session=True, env=environment(cluster),
            preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0))
        os.close(theirs)
        self.shown = ""

    def until(self, text: str) -> None:
        """Read on until the text has come."""
        ends = time.monotonic() + SECONDS
        while text not in self.shown:
            assert time.monotonic() < ends, self.shown
            assert self._read(), self.shown

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._ours)
        return self.process.wait(SECONDS)

    def _read(self) -> bool:
        """Whether there is more to come."""
        if select.select([self._ours], [], [], 1)[0]:
            try:
                found = os.read(self._ours, 4096)
            except OSError:  # Linux's way to say that the other side is closed
                return False
            self.shown += found.decode(errors="replace")
        return True


def stop_as_said(cluster: Cluster, shown: str) -> None:
    """By the command that was shown."""
    (command,) = re.findall(r"stop it: +(ray job stop .*\S)", shown)
    subprocess.run(f"{BIN}/{command}", shell=True, check=True, capture_output=True, timeout=SECONDS,
                   env=environment(cluster))


def status(cluster: Cluster, shown: str) -> str:
    (name,) = set(re.findall(r"lvray: job (lvray-train-[\w-]+)", shown))
    return next(str(job["status"]) for job in jobs(cluster) if job["submission_id"] == name)


def test_ctrl_c_stops_the_job_if_told_so(head: Cluster, store: str, tmp_path: Path) -> None:
    terminal = Terminal(head, *training(store, tmp_path, "stopped", "epochs=5000"))
    terminal.until("epoch 1 of 5000")
    terminal.type("\x03")
    terminal.until("Stop the job?")
    terminal.type("y\n")
    assert terminal.end() == 143, terminal.shown
    assert re.search(r"lvray: stopped and saved after step .*: the same command goes on from there", terminal.shown)
    assert status(head, terminal.shown) == "STOPPED"
    assert storage.list_entries(f"{store}/stopped/checkpoints", "the checkpoints")


@pytest.mark.parametrize(("keys", "run"), [("\x03", "twice"), ("n\n", "no")])
def test_ctrl_c_twice_or_no_leaves_the_job(head: Cluster, store: str, tmp_path: Path, keys: str, run: str) -> None:
    terminal = Terminal(head, *training(store, tmp_path, run, "epochs=5000"))
    terminal.until("epoch 1 of 5000")
    terminal.type("\x03")
    terminal.until("Stop the job?")
    terminal.type(keys)
    assert terminal.end() == 130, terminal.shown
    assert status(head, terminal.shown) == "RUNNING"
    assert "Traceback" not in terminal.shown
    assert "interrupted" not in terminal.shown
    stop_as_said(head, terminal.shown)
    assert status(head, terminal.shown) == "STOPPED"


def test_ctrl_c_without_a_terminal_leaves_the_job(head: Cluster, store: str, tmp_path: Path) -> None:
    with subprocess.Popen([SUBMIT, "--address", head.dashboard_url, "--json",
                           *map(str, training(store, tmp_path, "piped", "epochs=5000"))], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=environment(head)) as process:
        assert process.stdout
        assert process.stderr
        first = json.loads(process.stdout.readline())
        shown = ""
        while "epoch 1 of 5000" not in shown:
            line = process.stderr.readline()
            assert line, shown
            shown += line
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, rest
    assert json.loads(out) == {**first, "status": "RUNNING"}
    assert status(head, shown) == "RUNNING"
    stop_as_said(head, rest)
