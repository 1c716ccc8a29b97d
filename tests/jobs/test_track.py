"""TensorBoard and MLflow hold what metrics.jsonl does, through kills and outages; asked for in vain, they say so."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pytest

from lvray import recipes
from lvray.errors import EnvironmentFault, UseError
from lvray.jobs import metrics
from lvray.jobs.board import Line
from lvray.jobs.metrics import Metrics
from lvray.jobs.track import MLFLOW_CLIENT, TRACKERS
from lvray.shards import storage
from tests.jobs.mlflow_server import MlflowServer, serving
from tests.jobs.test_metrics import EPOCHS, STEPS, AtOnce, interrupted, told

RECIPE = recipes.smoke_seg()


def track(run: str, names: Collection[str], *parts: Iterable[Line]) -> list[str]:
    """Each part is told to a command of its own. -> notices"""
    notices: list[str] = []
    for part in parts:
        with Metrics(run, names, RECIPE, "9f", notices.append) as made:
            for line in part:
                made.take(line)
    return notices


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    pytest.importorskip("mlflow")
    with serving() as held:
        for name, value in MLFLOW_CLIENT.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", held.uri)
        monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
        yield held


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    """Step and value, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return [(event.step, event.value) for event in found.Scalars(tag)]


def test_tensorboard_shows_each_step_once_after_a_resume(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    track(str(tmp_path), ["tensorboard"], [*told()[:20], *told(0, 2)[:12]], told(1, 1))
    losses = scalars(tmp_path / "tensorboard", "train/loss")
    assert [step for step, _ in losses] == list(range(1, EPOCHS * STEPS + 1))
    assert losses[STEPS + 1][1] == pytest.approx(1 / 3)
    assert [step for step, _ in scalars(tmp_path / "tensorboard", "epoch/validation_loss")] == [4, 8, 12]


def test_tensorboard_of_a_run_in_a_store(s3: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    track(s3, ["tensorboard"], told()[:20], told(1, 1))
    there = storage.join(s3, "tensorboard")
    for entry in storage.list_entries(there, "events"):
        (tmp_path / entry.name).write_bytes(storage.read_bytes(storage.join(there, entry.name), "events"))
    assert [step for step, _ in scalars(tmp_path, "train/loss")] == list(range(1, EPOCHS * STEPS + 1))


def test_mlflow_holds_settings_checksum_version_and_each_validation(server: MlflowServer, tmp_path: Path) -> None:
    assert track(str(tmp_path), ["mlflow"], told()) == []
    (held,) = server.runs.values()
    assert (held.name, held.status, server.experiments) == ("smoke_seg", "FINISHED", {"lvray": "1"})
    assert held.params == {name: json.dumps(value) for name, value in recipes.flat(RECIPE).items()}
    assert held.tags["lvray.data"] == "9f"
    assert str(tmp_path) not in str(held)
    assert [point for point in held.metrics if point[0] == "validation_loss"] == [
        ("validation_loss", epoch, 0.6) for epoch in (1, 2, 3)]


def test_a_resumed_run_goes_on_with_its_run_of_mlflow(server: MlflowServer, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        track(str(tmp_path), ["mlflow"], interrupted(told()[:20]))
    assert [held.status for held in server.runs.values()] == ["KILLED"]
    with Metrics(str(tmp_path), ["mlflow"], RECIPE, "9f", print):
        assert [held.status for held in server.runs.values()] == ["RUNNING"]
    track(str(tmp_path), ["mlflow"], told(1, 0))
    (held,) = server.runs.values()
    assert held.status == "FINISHED"
    assert [step for name, step, _ in held.metrics if name == "loss"] == [1, 2, 3]


def test_what_mlflow_missed_is_sent_later(server: MlflowServer, tmp_path: Path,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(metrics, "ThreadPoolExecutor", AtOnce)
    notices: list[str] = []
    with Metrics(str(tmp_path), ["mlflow"], RECIPE, "9f", notices.append) as made:
        server.down = True
        for line in told():
            made.take(line)
        server.down = False
    assert notices == ["MLflow does not take the metrics (INTERNAL_ERROR): check MLFLOW_TRACKING_URI and its"
                       " credentials"]
    (held,) = server.runs.values()
    assert [step for name, step, _ in held.metrics if name == "loss"] == [1, 2, 3]


def test_mlflow_that_does_not_answer_ends_the_command_before_any_work(tmp_path: Path,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    for name, value in {**MLFLOW_CLIENT, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EnvironmentFault, match="check MLFLOW_TRACKING_URI") as caught:
        track(str(tmp_path), ["mlflow"], told())
    assert "127.0.0.1" not in str(caught.value)


def test_mlflow_without_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for uri in ("", "/a/folder"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(UseError, match="MLFLOW_TRACKING_URI must name a server"):
            track(str(tmp_path), ["mlflow"], told())


@pytest.mark.parametrize(("name", "module", "package"), [
    ("tensorboard", "torch.utils.tensorboard", "tensorboard"), ("mlflow", "mlflow", "mlflow-skinny")])
def test_a_tracker_whose_package_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str,
                                            package: str) -> None:
    for variable, value in {**MLFLOW_CLIENT, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UseError, match=f"pip install {package}"):
        track(str(tmp_path), [name], told())


def test_trackers_by_the_names_of_the_command() -> None:
    from lvray.cli.training import Tracker

    assert set(TRACKERS) == set(Tracker)
