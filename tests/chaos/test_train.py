"""A training run on Ray whose workers or command die: it ends with the bytes of one that nobody disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvray.jobs import checkpoints
from lvray.settings import Recipe
from lvray.shards import storage
from lvray.shards.dataset import Dataset
from tests.chaos import processes
from tests.chaos.nodes import Cluster, Node
from tests.jobs.conftest import SMALL, small, tiny_dataset
from tests.weed import Weed

Files = dict[str, bytes]
Command = subprocess.Popen[str]
SECONDS = 900
STEPS = 8
"""Of an epoch."""
KILLS = 10


@dataclass(frozen=True)
class Run:
    """A run to be disturbed. sets: on top of SMALL; env: of the command."""

    kind: str
    data: str
    uri: str
    workers: str
    sets: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()

    @property
    def recipe(self) -> Recipe:
        return small(self.kind, *self.sets)

    def start(self, *program: str) -> Command:
        """program: in place of the command."""
        values = {name: value for name, _, value in (one.partition("=") for one in (*SMALL, *self.sets))}
        return subprocess.Popen(
            [*(program or [str(processes.LVRAY)]), "train", f"smoke_{self.kind}", "--data", self.data, "--run",
             self.uri, "--workers", self.workers, *(f"--set={name}={value}" for name, value in values.items())],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **dict(self.env)})

    def wait_until(self, true: Callable[[], bool], command: Command) -> None:
        """And the command is alive."""
        while not true():
            assert command.poll() is None, ended(command)
            time.sleep(0.01)

    def wait_for(self, position: tuple[int, int], command: Command) -> None:
        """Until a checkpoint of that position, or a later one, stands."""
        self.wait_until(lambda: checkpoints.names(self.uri)[-1:] >= [checkpoints.name(*position)], command)

    def lines(self) -> list[dict[str, Any]]:
        path = Path(self.uri) / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")] \
            if path.exists() else []

    def steps(self) -> list[tuple[int, int]]:
        """(epoch, step), both from 1, of metrics.jsonl."""
        return [(line["epoch"], line["step"]) for line in self.lines() if "step" in line]

    def begins(self) -> list[dict[str, Any]]:
        return [line for line in self.lines() if "begins" in line]

    def best(self) -> Files:
        return files(storage.join(self.uri, checkpoints.BEST))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_dataset(str(tmp_path_factory.mktemp("tiny") / "data"))


def files(uri: str) -> Files:
    return {entry.name: storage.read_bytes(storage.join(uri, entry.name), "a file")
            for entry in storage.list_entries(uri, "a checkpoint")}


def ended(command: Command) -> tuple[int, str]:
    _, err = command.communicate(timeout=SECONDS)
    return command.returncode, err


def on_nodes(*nodes: Node) -> list[int]:
    return processes.trainers(*(node.process.pid for node in nodes))


def without_ray(dataset: Dataset, uri: str, recipe: Recipe, world: int) -> tuple[Files, list[float]]:
    """The best checkpoint of a run that nobody disturbs, and the loss of each step."""
    asked = {"worlds": [world], "data": dataset.uri, "run": uri, "recipe": recipe.model_dump(mode="json"), "deaths": []}
    done = subprocess.run([sys.executable, "-W", "ignore", "-m", "tests.jobs.ranks", json.dumps(asked)], check=True,
                          capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    last = checkpoints.read(checkpoints.where(uri, checkpoints.names(uri)[-1]))
    return (files(checkpoints.where(uri, last.scheduler["best_at"])),
            [line["loss"] for line in lines if "step" in line])


def test_a_killed_worker_and_a_killed_command_change_no_byte(tiny: Dataset, tmp_path: Path) -> None:
    run = Run("seg", tiny.uri, str(tmp_path / "run"), "2")
    with run.start() as command:
        run.wait_for((0, 3), command)
        processes.kill(processes.trainers(command.pid)[:1])
        run.wait_for((1, 4), command)
        left = processes.descendants(command.pid)
        command.kill()
    assert ended(run.start())[0] == 0  # while what the first one left may still run
    processes.kill(left)
    assert run.best() == without_ray(tiny, str(tmp_path / "whole"), run.recipe, 2)[0]


def test_sigterm_of_a_worker_and_of_the_command_lose_no_step(tiny: Dataset, tmp_path: Path) -> None:
    """No checkpoint is due before the end, so those that stand are the signals'."""
    run = Run("reg", tiny.uri, str(tmp_path / "run"), "1",
              ("epochs=100", "validate_epochs=100", "saving.seconds=3600"))
    command = run.start()
    run.wait_until(lambda: len(run.steps()) >= 20, command)
    [worker] = processes.trainers(command.pid)
    os.kill(worker, signal.SIGTERM)
    run.wait_for((0, 1), command)
    [first] = checkpoints.names(run.uri)
    run.wait_until(lambda: len(run.steps()) >= 80, command)
    command.terminate()
    code, err = ended(command)
    *_, last = checkpoints.names(run.uri)
    epoch, step = checkpoints.position(last)
    assert (code, [line for line in err.splitlines() if line.startswith("lvray: ")]) == (143, [
        f"lvray: stopped and saved after step {step} of epoch {epoch + 1}: the same command goes on from there"])
    assert len(run.steps()) == epoch * STEPS + step
    assert ended(run.start())[0] == 0
    assert [line["begins"] for line in run.begins()] == [
        [0, 0], *(list(checkpoints.position(name)) for name in (first, last))]
    assert run.steps() == [(epoch, step) for epoch in range(1, 101) for step in range(1, STEPS + 1)]  # each once
    assert run.best() == without_ray(tiny, str(tmp_path / "whole"), run.recipe, 1)[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["seg", "reg"])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("store", ["file", "s3"])
def test_ten_kills_change_no_byte(request: pytest.FixtureRequest, tmp_path: Path, tiny: Dataset, store: str,
                                  workers: int, kind: str) -> None:
    """Of workers, of the command and of a raylet, on two nodes. A second worker has its node to itself."""
    base = str(tmp_path) if store == "file" else request.getfixturevalue("s3")
    data = tiny.uri if store == "file" else tiny_dataset(f"{base}/data").uri
    rng = np.random.default_rng([workers, *kind.encode(), *store.encode()])
    moments = np.sort(rng.choice(60, KILLS, replace=False)).tolist()
    victims = rng.permutation(["worker"] * 4 + ["command"] * 3 + ["raylet"] * 3).tolist()
    with Cluster(3 * (workers - 1)) as cluster:
        cluster.add(3)
        settings = ("threads=2", "epochs=10")
        whole, run = (Run(kind, data, f"{base}/{name}", str(workers), settings, tuple(cluster.environment.items()))
                      for name in ("whole", "killed"))
        assert ended(whole.start())[0] == 0
        command = run.start()
        for moment, victim in zip(moments, victims, strict=True):
            run.wait_for(divmod(moment, STEPS), command)
            if victim == "worker":
                run.wait_until(lambda: bool(on_nodes(*cluster.nodes)), command)
                processes.kill([int(rng.choice(on_nodes(*cluster.nodes)))])
            elif victim == "command":
                with command:
                    command.kill()
                command = run.start()
            else:
                cluster.nodes[-1].kill_raylet()
                cluster.add(3)
        assert ended(command)[0] == 0
    assert run.best() == whole.best()


@pytest.mark.slow
def test_a_node_that_will_be_taken_away_has_the_run_saved_at_once(tiny: Dataset, tmp_path: Path) -> None:
    """No checkpoint is due before the end."""
    with Cluster(0) as cluster:
        run = Run("seg", tiny.uri, str(tmp_path / "run"), "1",
                  ("epochs=100", "validate_epochs=100", "saving.seconds=3600"), tuple(cluster.environment.items()))
        going = cluster.add(2)
        command = run.start()
        run.wait_until(lambda: len(run.steps()) >= 20, command)
        cluster.drain(going, 60)
        run.wait_for((0, 1), command)
        assert on_nodes(going)
        [saved] = checkpoints.names(run.uri)
        going.kill()
        cluster.add(2)
        assert ended(command)[0] == 0
    assert [line["begins"] for line in run.begins()] == [[0, 0], list(checkpoints.position(saved))]
    assert run.best() == without_ray(tiny, str(tmp_path / "whole"), run.recipe, 1)[0]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Weed]:
    """A store of this test's own, for it will be killed; the AWS variables point there."""
    (tmp_path / "weed").mkdir()
    weed = Weed(tmp_path / "weed")
    weed.start()
    for name, value in {**weed.environment(), "AWS_MAX_ATTEMPTS": "2"}.items():
        monkeypatch.setenv(name, value)
    yield weed
    weed.stop()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_store_that_is_gone_for_a_while_is_waited_for(store: Weed, tmp_path: Path, workers: int) -> None:
    dataset = tiny_dataset("s3://lvray/data")
    run = Run("seg", dataset.uri, "s3://lvray/run", str(workers), ("epochs=10",))
    command = run.start()
    run.wait_for((1, 0), command)
    store.kill()
    with pytest.raises(subprocess.TimeoutExpired):
        command.wait(20)
    store.start()
    assert ended(command)[0] == 0
    assert run.best() == without_ray(dataset, str(tmp_path / "whole"), run.recipe, workers)[0]


@pytest.mark.slow
def test_a_store_that_fails_for_good_ends_the_run(store: Weed) -> None:
    run = Run("seg", tiny_dataset("s3://lvray/data").uri, "s3://lvray/run", "2", ("epochs=100",))
    command = run.start()
    run.wait_for((1, 0), command)
    store.kill()
    code, err = ended(command)
    assert (code, len([line for line in err.splitlines() if line.startswith("lvray: ")])) == (4, 1)
    assert "Traceback" not in err
    store.start()


ELASTIC = """
from functools import partial
from lvray.jobs import fit
fit.ScalingConfig = partial(fit.ScalingConfig, elastic_resize_monitor_interval_s=1.0)
from lvray.cli import main
main()
"""
"""The command, looking each second rather than each minute whether there is room for more workers."""


@pytest.mark.slow
def test_workers_come_and_go_with_the_nodes(tiny: Dataset, tmp_path: Path) -> None:
    with Cluster(3) as cluster:
        run = Run("seg", tiny.uri, str(tmp_path / "run"), "1..2",
                  ("threads=2", "epochs=200", "validate_epochs=200", "optimiser.lr=0.00001"),
                  tuple(cluster.environment.items()))
        going = cluster.add(3)
        command = run.start(sys.executable, "-c", ELASTIC)
        run.wait_for((2, 3), command)
        assert [len(on_nodes(node)) for node in cluster.nodes] == [1, 1]
        going.kill()
        run.wait_until(lambda: len(run.begins()) == 2, command)
        cluster.add(3)
        run.wait_until(lambda: len(run.begins()) == 3, command)
        assert ended(command)[0] == 0
    assert [line["world"] for line in run.begins()] == [2, 1, 2]
    assert run.steps() == [(epoch, step) for epoch in range(1, 201) for step in range(1, STEPS + 1)]
    _, alone = without_ray(tiny, str(tmp_path / "one"), run.recipe, 1)
    np.testing.assert_allclose([line["loss"] for line in run.lines() if "step" in line], alone, rtol=0, atol=1e-4)
