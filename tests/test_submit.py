"""`lvray submit` up to the head: what it looks at here, what it sends, what it does with the job's end.

The head is made up; tests/e2e/test_submit.py has real ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from lvray import cli
from lvray.cli import parcel, submitting
from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write
from lvray.jobs import submission, train
from lvray.jobs.claim import belonging, claim
from lvray.jobs.submission import End, Job, Order
from lvray.shards import folders, storage
from scripts.bench.predict import untrained
from tests.jobs.conftest import SMALL, small, tiny_dataset
from tests.weed import Weed

Lvray = Callable[..., Any]
KEY = "a key for tests, 32 bytes long.."
HEAD = ("--address", "http://127.0.0.1:8265")
COMMANDS: Any = typer.main.get_command(cli.app)
SETS = [part for one in SMALL for part in ("--set", one)]


class Head:
    """Takes one order, and ends it as `ends` says: an End, or what is raised instead, one a call."""

    def __init__(self, *ends: End | BaseException) -> None:
        self.ends = list(ends) or [End("SUCCEEDED", 0)]
        self.order: Any = None
        self.sent: dict[str, bytes] = {}
        self.stopped = 0

    def submit_job(self, **order: Any) -> None:
        self.order = order
        folder = Path(order["runtime_env"].get("working_dir", "/nowhere"))
        self.sent = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    def stop_job(self, id: str) -> None:
        self.stopped += 1

    def follow(self, emit: Callable[[str], None]) -> End:
        emit("a line of the job\n")
        end = self.ends.pop(0)
        if isinstance(end, BaseException):
            raise end
        return end


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Head:
    made = Head()
    monkeypatch.setattr(submission, "connect", lambda address: made)
    monkeypatch.setattr(Job, "follow", lambda job, emit: made.follow(emit))
    monkeypatch.setenv("LVRAY_KEY", KEY)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return made


@pytest.fixture
def data(s3: str) -> str:
    return tiny_dataset(f"{s3}/data", 12).uri


def parsed(called: str, arguments: list[str]) -> dict[str, Any]:
    return parcel.given(COMMANDS.commands[called].make_context(called, list(arguments)))


@pytest.mark.parametrize("typed", [
    "tensorize s3://b/ukb s3://b/shards --phases ed,es --labels labels.tsv --splits=s.csv --set quality.shift_mm=3"
    " --set splits.holdout=0.2 --max-rejects 0.5 --json",
    "train --workers 1..4 --data s3://b/shards paper_seg --run=s3://b/run --resume --track mlflow --track tensorboard",
    "tune mine.json --data s3://b/d --run s3://b/r --trials 3 --space space.json --seed 4 --concurrent 2",
    "evaluate --data s3://b/d --out s3://b/o --checkpoint s3://b/1 --checkpoint s3://b/2 --split holdout --split train"
    " --masks nnunet=theirs --allow-leakage --hide-small --key /run/key",
    "predict s3://b/ukb --checkpoint s3://b/c --out s3://b/o --masks --set workers=8"])
def test_a_line_parses_to_what_was_typed(typed: str) -> None:
    called, *arguments = typed.split()
    values = parsed(called, arguments)
    again = parcel.line(COMMANDS.commands[called], values)
    assert parsed(called, again) == values
    assert len(values) == len({word.partition("=")[0] for word in again if word.startswith("--")}) + sum(
        name in values for name in ("src", "dst", "recipe", "studies"))


def test_what_a_job_is(lvray: Lvray, head: Head, data: str, s3: str, tmp_path: Path,
                       monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of this machine go along under names of lvray's own; key and credentials do not."""
    recipe, space = tmp_path / "Miss Smith's.json", tmp_path / "space.json"
    recipe.write_text(small("seg").model_dump_json())
    space.write_text('{"optimiser.lr": {"low": 0.001, "high": 0.01}}')
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    said = lvray("submit", *HEAD, "--env", "AWS_MAX_ATTEMPTS", "tune", recipe, "--data", data, "--run", f"{s3}/run",
                 "--space", space)
    assert (said.code, said.out) == (0, "a line of the job\n"), said.err
    assert head.order["entrypoint"].endswith(
        f"exec lvray tune recipe.json --data={data} --run={s3}/run --space=space.json")
    assert head.sent == {"recipe.json": recipe.read_bytes(), "space.json": space.read_bytes()}
    assert head.order["runtime_env"].keys() == {"working_dir", "env_vars"}
    assert head.order["runtime_env"]["env_vars"] == {"AWS_MAX_ATTEMPTS": "3"}
    assert head.order["metadata"] == {"lvray": "0.1.0", "command": "tune", "recipe": "recipe.json", "data": data,
                                      "run": f"{s3}/run"}
    assert head.order["submission_id"].startswith("lvray-tune-recipe-")
    assert head.order["submission_id"] in said.err
    whole = f"{head.order} {head.sent} {said}"
    assert not any(secret in whole for secret in (KEY, "may-do-anything", "Smith"))


def test_tables_and_folders_of_people_go_along(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "7654321.nii.gz").write_bytes(b"mask")
    for name in ("splits.csv", "7654321.tsv"):
        (tmp_path / name).write_text(name)
    (sent := tmp_path / "sent").mkdir()
    values = {"splits": str(tmp_path / "splits.csv"), "labels": str(tmp_path / "7654321.tsv"), "src": "s3://b/ukb"}
    packed = parcel.pack(COMMANDS.commands["tensorize"], values, sent)
    assert packed == {"splits": "splits.csv", "labels": "labels.tsv", "src": "s3://b/ukb"}
    packed = parcel.pack(COMMANDS.commands["evaluate"], {"masks": [f"nnunet={tmp_path}/masks"]}, sent)
    assert packed == {"masks": ["nnunet=masks-1"]}
    assert {str(p.relative_to(sent)) for p in sent.rglob("*") if p.is_file()} == {
        "splits.csv", "labels.tsv", "masks-1/7654321.nii.gz"}
    assert parcel.pack(COMMANDS.commands["predict"], {"masks": True}, sent) == {"masks": True}
    assert parcel.pack(COMMANDS.commands["tensorize"], {"labels": "s3://b/l"}, sent) == {"labels": "s3://b/l"}


def test_ship_sends_this_lvray(lvray: Lvray, head: Head, data: str, s3: str) -> None:
    assert lvray("submit", *HEAD, "--ship", "train", "smoke_seg", "--data", data, "--run", f"{s3}/run").code == 0
    assert head.order["runtime_env"] == {"py_modules": [str(Path(cli.__file__).parents[1])],
                                         "excludes": ["__pycache__"]}
    assert "exec lvray train smoke_seg" in head.order["entrypoint"]


@pytest.mark.parametrize("command", ["tensorize", "evaluate", "predict", "tune", "train"])
def test_every_job_is_looked_over_and_sent(lvray: Lvray, head: Head, data: str, s3: str, tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """With no key on this machine, where the command itself asks for one; nothing is left in the store."""
    monkeypatch.delenv("LVRAY_KEY")
    write(tmp_path / "ukb", 1, 3, PhantomOptions(phases=2, slices=6, rows=64, columns=64))
    for file in (tmp_path / "ukb").iterdir():
        storage.write_atomic(f"{s3}/ukb/{file.name}", file.read_bytes(), "a study")
    untrained("smoke_seg", tmp_path / "best")
    folders.publish(tmp_path / "best", f"{s3}/best", "checksums.json", "a checkpoint")
    there = storage.list_tree(s3, "all")
    arguments = {
        "tensorize": [f"{s3}/ukb", f"{s3}/shards"], "train": ["smoke_seg", "--data", data, "--run", f"{s3}/run"],
        "tune": ["smoke_seg", "--data", data, "--run", f"{s3}/run"],
        "evaluate": ["--data", data, "--out", f"{s3}/report"],
        "predict": [f"{s3}/ukb", "--checkpoint", f"{s3}/best", "--out", f"{s3}/estimates", "--masks"]}
    said = lvray("submit", *HEAD, command, *arguments[command])
    assert said.code == 0, said.err
    assert f"exec lvray {command} " in head.order["entrypoint"]
    assert "working_dir" not in head.order["runtime_env"]
    assert storage.list_tree(s3, "all") == there


def test_the_jobs_code_is_the_commands(lvray: Lvray, head: Head, data: str, s3: str) -> None:
    head.ends = [End("FAILED", 3)]
    said = lvray("submit", *HEAD, "--json", "train", "smoke_seg", "--data", data, "--run", f"{s3}/run")
    assert said.code == 3
    first, last = said.objects()
    assert first == {"submission_id": head.order["submission_id"], "status": "PENDING", "exit_code": None}
    assert last == {"submission_id": head.order["submission_id"], "status": "FAILED", "exit_code": 3}
    assert "a line of the job\n" in said.err


REFUSED: dict[str, tuple[list[str], int, str]] = {
    "local data": (["train", "smoke_seg", "--data", "shards", "--run", "RUN"], 2, "--data is a place on this machine"),
    "local run": (["tune", "smoke_seg", "--data", "DATA", "--run", "file:///runs/a"], 2, "--run is a place on this"),
    "local SRC": (["tensorize", "/ukb", "RUN"], 2, "SRC is a place on this machine"),
    "local checkpoint": (["predict", "DATA", "--checkpoint", "best", "--out", "RUN"], 2, "--checkpoint is a place on"),
    "local report": (["evaluate", "--data", "DATA", "--out", "report"], 2, "--out is a place on this machine"),
    "scheme": (["train", "smoke_seg", "--data", "gs://b/d", "--run", "RUN"], 2, "a URI of scheme 'gs'"),
    "recipe": (["train", "smok_seg", "--data", "DATA", "--run", "RUN"], 2, "did you mean smoke_seg"),
    "recipe file": (["train", "mine.json", "--data", "DATA", "--run", "RUN"], 2, "RECIPE: cannot be read"),
    "space": (["tune", "smoke_seg", "--data", "DATA", "--run", "RUN", "--space", "no.json"], 2, "--space: cannot be"),
    "setting": (["train", "smoke_seg", "--data", "DATA", "--run", "RUN", "--set", "lr=1"], 2, "did you mean optimiser"),
    "option": (["train", "smoke_seg", "--data", "DATA", "--run", "RUN", "--gpus", "2"], 2, "No such option: --gpus"),
    "missing": (["train", "smoke_seg", "--run", "RUN"], 2, "Missing option '--data'"),
    "no job": (["serve", "--checkpoint", "DATA"], 2, "serve is no job; jobs are tensorize, train, tune"),
    "one study": (["predict", "DATA", "--checkpoint", "DATA"], 2, "without --out it answers on the spot"),
    "key": (["tensorize", "DATA", "RUN", "--key", "my.key"], 2, "a key is not sent along"),
    "no data": (["train", "smoke_seg", "--data", "RUN/nowhere", "--run", "RUN"], 4, "cannot read the data set"),
    "no studies": (["tensorize", "RUN/nowhere", "RUN"], 4, "cannot read SRC"),
    "bucket": (["train", "smoke_seg", "--data", "DATA", "--run", "s3://nobucket/run"], 4, "check the bucket's name"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_wrong_is_one_line_before_anything_is_sent(lvray: Lvray, head: Head, data: str, s3: str, what: str,
                                                           tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, code, says = REFUSED[what]
    monkeypatch.chdir(tmp_path)
    said = lvray("submit", *HEAD, *(a.replace("DATA", data).replace("RUN", f"{s3}/run") for a in arguments))
    assert (said.code, said.out, said.err.count("\n"), head.order) == (code, "", 1, None), said.err
    assert says in said.err


@pytest.mark.parametrize(("environment", "says"), [
    ({"AWS_SECRET_ACCESS_KEY": "another"}, "check AWS_SECRET_ACCESS_KEY"),
    ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_EC2_METADATA_DISABLED": "true"},
     "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "check AWS_ENDPOINT_URL")])
def test_a_store_that_does_not_take_us(lvray: Lvray, head: Head, s3: str, monkeypatch: pytest.MonkeyPatch,
                                       tmp_path: Path, environment: dict[str, str | None], says: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environment.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    said = lvray("submit", *HEAD, "train", "smoke_seg", "--data", f"{s3}/data", "--run", f"{s3}/run")
    assert (said.code, said.err.count("\n"), head.order) == (4, 1, None), said.err
    assert says in said.err


def test_a_run_of_another_recipe_or_search(lvray: Lvray, head: Head, data: str, s3: str) -> None:
    dataset, _ = train.check(small("seg"), data, f"{s3}/run")
    claim(f"{s3}/run", belonging(small("seg"), dataset.checksum))
    claim(f"{s3}/run", {**belonging(small("seg"), dataset.checksum), "seed": 0, "space": {}}, "search.json")
    rest = ["--data", data, "--run", f"{s3}/run", *SETS]
    assert lvray("submit", *HEAD, "train", "smoke_seg", *rest).code == 0
    for command, differs in (("train", "optimiser.lr: 0.003 there, 0.01 now"), ("tune", "seed: 0 there, 5 now")):
        head.order = None
        more = ["--set", "optimiser.lr=0.01"] if command == "train" else ["--seed", "5"]
        said = lvray("submit", *HEAD, command, "smoke_seg", *rest, *more)
        assert (said.code, said.err.count("\n"), head.order) == (2, 1, None), said.err
        assert f"--run belongs to other settings or data ({differs}" in said.err or differs in said.err


@pytest.mark.parametrize(("options", "ray_address", "says"), [
    ([], None, "no cluster: give --address http://HEAD:8265, or set RAY_ADDRESS"),
    ([], "ray://head:10001", "RAY_ADDRESS: the URL of the cluster's dashboard is wanted"),
    (["--address", "head:8265"], None, "--address: the URL of the cluster's dashboard is wanted"),
    (["--address", "http://head:port"], None, "--address: the URL of the cluster's dashboard is wanted"),
    ([*HEAD, "--env", "AWS_SECRET_ACCESS_KEY"], None, "stand on the dashboard"),
    ([*HEAD, "--env", "LVRAY_KEY"], None, "stand on the dashboard"),
    ([*HEAD, "--env", "NO_SUCH_THING"], None, "no such variable here")])
def test_what_is_wrong_with_submits_own_options(lvray: Lvray, head: Head, monkeypatch: pytest.MonkeyPatch,
                                                options: list[str], ray_address: str | None, says: str) -> None:
    if ray_address is not None:
        monkeypatch.setenv("RAY_ADDRESS", ray_address)
    said = lvray("submit", *options, "train", "smoke_seg", "--data", "s3://b/d", "--run", "s3://b/r")
    assert (said.code, said.out, said.err.count("\n"), head.order) == (2, "", 1, None), said.err
    assert says in said.err


def sent_job(head: Head) -> Job:
    client: Any = head
    return Job.send(client, Order("lvray-train-1", "lvray", {}, {}))


@pytest.mark.parametrize(("answers", "ends", "code", "stopped"), [
    ([], [KeyboardInterrupt()], 130, 0),  # no terminal
    ([False], [KeyboardInterrupt()], 130, 0), ([typer.Abort()], [KeyboardInterrupt()], 130, 0),
    ([KeyboardInterrupt()], [KeyboardInterrupt()], 130, 0),
    ([True], [KeyboardInterrupt(), End("STOPPED", 143)], 143, 1),
    ([True], [KeyboardInterrupt(), KeyboardInterrupt()], 130, 1)])
def test_ctrl_c(head: Head, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                answers: list[Any], ends: list[Any], code: int, stopped: int) -> None:
    def confirm(*asked: object, **how: object) -> bool:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return bool(answer)

    monkeypatch.setattr(submitting, "_terminal", lambda: bool(answers))
    monkeypatch.setattr(typer, "confirm", confirm)
    head.ends = ends
    with pytest.raises(typer.Exit) as raised:
        submitting.until_its_end(sent_job(head), HEAD[1], as_json=True)
    said = capsys.readouterr()
    assert (raised.value.exit_code, head.stopped, answers) == (code, stopped, [])
    if code == 130:
        assert "ray job stop --address http://127.0.0.1:8265 lvray-train-1" in said.err
        assert "ray job logs --follow --address http://127.0.0.1:8265 lvray-train-1" in said.err
    assert [json.loads(line)["exit_code"] for line in said.out.splitlines()] == [None, None if code == 130 else code]


def test_keys_of_the_store_are_not_sent(weed: Weed) -> None:
    """By any name that a secret has."""
    for name in (*weed.environment(), "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN", "LVRAY_API_KEYS", "DB_PASSWORD"):
        assert bool(submitting.SECRET.search(name)) == (name not in ("AWS_ENDPOINT_URL", "AWS_REGION"))
