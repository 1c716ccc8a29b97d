"""What every test may share: one small Ray cluster, one object store, and the command in this process."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.weed import Weed

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch's threads wait busily: on a machine that others use, for minutes


@dataclass(frozen=True)
class Said:
    """What a command answered: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    def objects(self) -> list[dict[str, Any]]:
        """stdout as JSON, one object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell has what it starts in the background ignore Ctrl-C; some tests send it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def lvray() -> Callable[..., Said]:
    """The command, in this process: lvray("measure", study, "--json")."""
    from lvray import cli, console

    def run(*arguments: object) -> Said:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = console.run(lambda: cli.app([str(a) for a in arguments], standalone_mode=False))
        return Said(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Two CPUs, no dashboard. Ray's own settings stand in the environment before it starts."""
    with pytest.MonkeyPatch.context() as env:
        env.setenv("RAY_num_workers_soft_limit", "8")
        env.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        env.setenv("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        env.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        env.setenv("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "lvray.serving.edge.middlewares")
        env.setenv("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=200_000_000,
                 logging_level=logging.ERROR, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    """An S3 of this session's own. Its `environment()` is for whoever starts other processes."""
    from tests.weed import Weed

    store = Weed(tmp_path_factory.mktemp("weed"))
    store.start()
    yield store
    store.stop()


@pytest.fixture
def s3(weed: Weed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a prefix of this test's own in `weed`; the AWS variables point there."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_MAX_ATTEMPTS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in weed.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://lvray/{tmp_path.name}"
