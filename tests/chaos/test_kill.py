"""SIGKILL of a worker, of the command or of the store at a random moment: the command again ends as if undisturbed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write
from lvray.errors import EnvironmentFault
from lvray.shards import storage
from lvray.shards.dataset import unlisted, verify
from tests.chaos import processes
from tests.weed import Weed

STUDIES = 24
MOMENTS = STUDIES + 8
"""Objects that a run leaves under DST before its manifest, more or less: parts, shards, index, rejects."""
SECONDS = 300
SETTINGS = ["--set", "shard_mb=1", "--set", "group_rows=4", "--max-rejects", "0.5"]


@dataclass(frozen=True)
class Cohort:
    """A store of this module's own, for it will be killed; src: in it; files: what an undisturbed run makes of src."""

    weed: Weed
    src: str
    env: dict[str, str]
    files: dict[str, bytes]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cohort]:
    folder = tmp_path_factory.mktemp("kill")
    write(folder / "ukb", STUDIES - 1, 11, PhantomOptions(phases=2, slices=6, rows=64, columns=64))
    (folder / "ukb" / "9999999_20209_2_0.zip").write_bytes(b"no zip")
    weed = Weed(folder / "weed")
    (folder / "weed").mkdir()
    weed.start()
    env = {**weed.environment(), "LVRAY_KEY": "a key for tests, 32 bytes long..", "AWS_MAX_ATTEMPTS": "3"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        for path in sorted((folder / "ukb").iterdir()):
            storage.write_atomic(f"s3://lvray/src/{path.name}", path.read_bytes(), "a study")
        tensorized(Cohort(weed, "s3://lvray/src", env, {}), "s3://lvray/undisturbed")
        yield Cohort(weed, "s3://lvray/src", env, files("s3://lvray/undisturbed"))
        weed.stop()


def start(cohort: Cohort, dst: str, **env: str) -> subprocess.Popen[str]:
    return processes.start("tensorize", cohort.src, dst, *SETTINGS, env={**cohort.env, **env})


def tensorized(cohort: Cohort, dst: str) -> None:
    """A run that nobody disturbs, and that waits for a store that has just come up."""
    command = start(cohort, dst, AWS_MAX_ATTEMPTS="10")
    _, err = command.communicate(timeout=SECONDS)
    assert command.returncode == 0, err[-3000:]


def files(uri: str) -> dict[str, bytes]:
    return {entry.name: storage.read_bytes(storage.join(uri, entry.name), "a file")
            for entry in storage.list_entries(uri, "DST") if not entry.folder}


def wait_for(objects: int, dst: str, command: subprocess.Popen[str]) -> None:
    """Until so many objects have stood under DST, or the command is done."""
    while command.poll() is None and standing(dst) < objects:
        pass


def standing(dst: str) -> int:
    try:
        return len(storage.list_tree(dst, "DST"))
    except EnvironmentFault:  # nothing yet
        return 0


@pytest.mark.parametrize("moment", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 10))])
@pytest.mark.parametrize("victim", ["worker", "command", "store"])
def test_killed_and_run_again(cohort: Cohort, victim: str, moment: int) -> None:
    dst = f"s3://lvray/{victim}-{moment}"
    when = int(np.random.default_rng([moment, *victim.encode()]).integers(1, MOMENTS))
    command = start(cohort, dst)
    wait_for(when, dst, command)
    started = processes.descendants(command.pid)
    if victim == "worker":
        at_work = [pid for pid in processes.workers(command.pid) if processes.title(pid).startswith("ray::_")]
        processes.kill(at_work[:1] or processes.workers(command.pid)[:1])
    elif victim == "command":
        command.kill()
    else:
        cohort.weed.kill()
    _, err = command.communicate(timeout=SECONDS)
    if victim == "store":
        cohort.weed.start()
        assert command.returncode in (0, 4), err[-3000:]
        assert "Traceback" not in err
    elif victim == "worker":
        assert command.returncode == 0, err[-3000:]
    tensorized(cohort, dst)
    processes.kill(started)
    assert files(dst) == cohort.files
    assert unlisted(verify(dst)) == []


def test_two_commands_at_once(cohort: Cohort) -> None:
    dst = "s3://lvray/both"
    commands = [start(cohort, dst) for _ in range(2)]
    said: list[Any] = [command.communicate(timeout=SECONDS) for command in commands]
    assert [command.returncode for command in commands] == [0, 0], said
    assert files(dst) == cohort.files
    assert unlisted(verify(dst)) == []
