"""A search whose worker, command or node dies: the same command ends it, and no finished trial runs again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lvray.jobs import trial
from lvray.shards.dataset import Dataset
from tests.chaos import processes
from tests.chaos.nodes import Cluster
from tests.chaos.test_train import Command, Run, ended, on_nodes
from tests.e2e.test_tune import EPOCHS, TRIALS, arguments
from tests.jobs.conftest import tiny_dataset

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_dataset(str(tmp_path_factory.mktemp("tiny") / "data"))


def lines(run: Path, number: int) -> list[dict[str, Any]]:
    """Of a trial's metrics.jsonl, those that are whole."""
    path = Path(trial.where(str(run), number)) / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")] \
        if path.exists() else []


def test_a_search_that_is_killed_three_times(tiny: Dataset, tmp_path: Path) -> None:
    run = tmp_path / "run"
    wait_until = Run("reg", tiny.uri, str(run), "1").wait_until

    def started(number: int, epoch: int, command: Command) -> None:
        """Wait until a trial has validated an epoch."""
        wait_until(lambda: any("lr" in line and line["epoch"] >= epoch for line in lines(run, number)), command)

    with Cluster(0) as cluster:
        cluster.add(3)

        def start() -> Command:
            return processes.start(*arguments(tiny.uri, run), env=cluster.environment)

        command = start()
        started(0, 2, command)
        processes.kill(on_nodes(*cluster.nodes)[:1])
        started(0, 4, command)
        cluster.nodes[-1].kill_raylet()
        cluster.add(3)
        wait_until(lambda: trial.end_of(str(run), 0) is not None, command)
        begun = lines(run, 0)
        started(1, 1, command)
        with command:
            command.kill()
        command = start()
        code, err = ended(command)
        assert code == 0, err
    summary = json.loads((run / "tune.json").read_text())
    assert [at["trial"] for at in summary["trials"]] == list(range(TRIALS))
    assert lines(run, 0) == begun
    assert [line["step"] for line in begun if "step" in line] == [*range(1, 9)] * EPOCHS  # each once, in order


def test_a_search_that_is_told_to_end_saves_its_trials(tiny: Dataset, tmp_path: Path) -> None:
    run = tmp_path / "run"
    more = "--set=saving.seconds=3600"
    command = processes.start(*arguments(tiny.uri, run, more))
    Run("reg", tiny.uri, str(run), "1").wait_until(lambda: any("lr" in line for line in lines(run, 0)), command)
    command.terminate()
    code, err = ended(command)
    assert (code, err.splitlines()[-1]) == (143, "lvray: stopped and saved: the same command goes on from there")
    assert trial.end_of(str(run), 0) is None
    code, err = ended(processes.start(*arguments(tiny.uri, run, more)))
    assert code == 0, err
    assert [line["step"] for line in lines(run, 0) if "step" in line] == [*range(1, 9)] * EPOCHS  # each once, in order
