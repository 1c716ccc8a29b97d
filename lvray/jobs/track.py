"""Others that show a run's metrics if asked: TensorBoard from files, MLflow from its server. Their packages are extras,
and not imported before. jobs/metrics.py says what a line is.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import lvray
from lvray import recipes
from lvray.errors import EnvironmentFault, UseError
from lvray.jobs.board import Line
from lvray.settings import Recipe
from lvray.shards import storage

FILES = "TensorBoard's files"
MLFLOW_RUN = "mlflow.json"
MLFLOW_EXPERIMENT = "lvray"
MLFLOW_CLIENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""What the user's environment does not say: its own retries take minutes, and what was missed is sent later anyway."""
TAGS = {"loss": "train/loss", "norm": "train/gradient_norm"}
VALIDATION_TAGS = {"loss": "epoch/train_loss", "validation_loss": "epoch/validation_loss", "lr": "epoch/learning_rate",
                   "samples_per_second": "pace/samples_per_second", "waiting": "pace/waiting_for_data"}


class Tracker(Protocol):
    """Takes the lines of a run in their order. `publish` is called on another thread than the others are."""

    def begin(self, start: Line, standing: list[Line]) -> None:
        """Workers begin: lines that are not among the standing ones are told anew."""
        ...

    def take(self, line: Line) -> None: ...

    def publish(self) -> None:
        """EnvironmentFault: not possible now; the next time, or `close`, makes up for it."""
        ...

    def close(self, *, finished: bool) -> None:
        """EnvironmentFault."""
        ...


class TensorBoard:
    """Event files in `<run>/tensorboard/`. A run in an object store has them aside, and puts them there whole."""

    def __init__(self, run: str, recipe: Recipe, data: str) -> None:
        with _installed("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter
        self._open: Callable[..., Any] = SummaryWriter
        self._writer: Any = None
        self._steps = 1
        self._to = storage.join(run, "tensorboard")
        self._aside: tempfile.TemporaryDirectory[str] | None = None

    def begin(self, start: Line, standing: list[Line]) -> None:
        """TensorBoard itself purges the steps that come again."""
        epoch, step = start["begins"]
        self._steps = start["steps"]
        if self._writer is not None:
            self._writer.close()
        if self._aside is None and storage.is_s3(self._to):
            self._aside = tempfile.TemporaryDirectory()
        folder = self._aside.name if self._aside else storage.absolute(self._to)
        with storage.faults(f"write {FILES}"):
            self._writer = self._open(folder, purge_step=epoch * self._steps + step + 1)

    def take(self, line: Line) -> None:
        validated = "step" not in line
        number = line["epoch"] * self._steps if validated else (line["epoch"] - 1) * self._steps + line["step"]
        with storage.faults(f"write {FILES}"):
            for name, tag in (VALIDATION_TAGS if validated else TAGS).items():
                if name in line:
                    self._writer.add_scalar(tag, line[name], number)

    def publish(self) -> None:
        if self._writer is None:
            return
        with storage.faults(f"write {FILES}"):
            self._writer.flush()
        for file in sorted(Path(self._aside.name).iterdir()) if self._aside else ():
            storage.write_atomic(storage.join(self._to, file.name), file.read_bytes(), FILES)

    def close(self, *, finished: bool) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._aside is not None:
            self._aside.cleanup()


class MLflow:
    """A run on the server of MLFLOW_TRACKING_URI: the settings as parameters, each validation as metrics of its epoch.

    Its id stands in `<run>/mlflow.json`, so that a resumed run goes on with it.
    """

    def __init__(self, run: str, recipe: Recipe, data: str) -> None:
        if not os.environ.get("MLFLOW_TRACKING_URI", "").startswith(("http", "databricks")):
            raise UseError("--track mlflow: MLFLOW_TRACKING_URI must name a server, as in http://127.0.0.1:5000")
        for name, value in MLFLOW_CLIENT.items():
            os.environ.setdefault(name, value)
        with _installed("mlflow-skinny"):
            from mlflow import MlflowClient
        with _answers():
            self._client = MlflowClient()
            self._id = self._joined(run) or self._created(run, recipe, data)
            self._sent = {point.step for point in self._client.get_metric_history(self._id, "loss")}
        self._validations: list[Line] = []

    def begin(self, start: Line, standing: list[Line]) -> None:
        self._validations = [line for line in standing if "epoch" in line and "step" not in line]

    def take(self, line: Line) -> None:
        if "step" not in line:
            self._validations.append(line)

    def publish(self) -> None:
        from mlflow.entities import Metric

        for line in list(self._validations):
            epoch, now = line["epoch"], round(time.time() * 1000)
            if epoch not in self._sent:
                with _answers():
                    self._client.log_batch(self._id, metrics=[
                        Metric(name, value, now, epoch) for name, value in line.items() if name != "epoch"])
                self._sent.add(epoch)

    def close(self, *, finished: bool) -> None:
        with _answers():
            self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")

    def _joined(self, run: str) -> str | None:
        """The run's id on the server, where it has one."""
        where = storage.join(run, MLFLOW_RUN)
        if not storage.exists(where, MLFLOW_RUN):
            return None
        found: str = json.loads(storage.read_bytes(where, MLFLOW_RUN))["run_id"]
        self._client.update_run(found, status="RUNNING")
        return found

    def _created(self, run: str, recipe: Recipe, data: str) -> str:
        from mlflow.entities import Param

        called = os.environ.get("MLFLOW_EXPERIMENT_NAME", MLFLOW_EXPERIMENT)
        experiment = self._client.get_experiment_by_name(called)
        number = experiment.experiment_id if experiment else self._client.create_experiment(called)
        tags = {"lvray.data": data, "lvray.version": lvray.__version__}
        made: str = self._client.create_run(number, run_name=recipe.name, tags=tags).info.run_id
        self._client.log_batch(made, params=[Param(k, json.dumps(v)) for k, v in recipes.flat(recipe).items()])
        storage.write_atomic(storage.join(run, MLFLOW_RUN), json.dumps({"run_id": made}).encode() + b"\n", MLFLOW_RUN)
        return made


TRACKERS: dict[str, Callable[[str, Recipe, str], Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow}
"""Made with the run's URI, its recipe, and the checksum of its data."""


@contextmanager
def _installed(package: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise UseError(f"--track needs {package}, which is not installed: pip install {package}") from error


@contextmanager
def _answers() -> Iterator[None]:
    """MLflow's errors as one line; their own texts hold addresses."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise EnvironmentFault(f"MLflow does not take the metrics ({error.error_code}): check MLFLOW_TRACKING_URI and"
                               " its credentials") from error
