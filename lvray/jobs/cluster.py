"""Ray for a command: the cluster that RAY_ADDRESS names, else a local one that ends with the command,
whatever other Ray runs on the machine."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from lvray.errors import EnvironmentFault

LOCAL_STORE_BYTES = 1 << 30
REACH_SECONDS = 5.0
RAY_TOKEN = Path("~/.ray/auth_token").expanduser()
NO_CLUSTER = "no Ray cluster answers at RAY_ADDRESS: correct it, or unset it to use this machine"


@contextmanager
def cluster() -> Iterator[None]:
    """A running Ray inside the `with`; one that is running already is used and left alone.

    Ray prints its warnings on stdout, which is for results: inside, stdout is stderr. EnvironmentFault: RAY_ADDRESS
    names a cluster that does not answer, or a local one does not start.
    """
    for name, value in {
        "RAY_num_workers_soft_limit": "8",  # a small machine else stops and starts workers all the time
        "RAY_task_oom_retries": "3",  # without end as it comes
        "RAY_worker_maximum_startup_concurrency": "4",  # fewer, and Ray warns of its own Data and Train
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_AIR_NEW_OUTPUT": "0",  # Tune's own table, printed whatever it is told
        "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread that goes on after the end would start another Ray
        "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # Train starts and ends by it: 2 s as it comes
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "lvray.serving.edge.middlewares",
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",  # three are missed before a dead proxy is replaced
        "RAY_USAGE_STATS_ENABLED": "0",
    }.items():
        os.environ.setdefault(name, value)
    import ray  # after the environment: Ray reads it on import

    with redirect_stdout(sys.stderr):
        if ray.is_initialized():
            yield
            return
        _start(os.environ.get("RAY_ADDRESS"))
        for name in ("ray.data", "ray.train", "ray.serve"):
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            ray.shutdown()


def _start(address: str | None) -> None:
    import ray
    from ray._private.authentication import authentication_token_setup

    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if not address:
        try:
            with _loopback_alone():
                authentication_token_setup._enable_token_auth()  # whoever reaches a port of Ray's runs code
                ray.init("local", num_cpus=max(2, os.cpu_count() or 2), include_dashboard=False,
                         object_store_memory=LOCAL_STORE_BYTES, **quiet)
            with suppress(OSError):
                RAY_TOKEN.chmod(0o600)  # Ray leaves it for all to read
        except Exception as e:  # Ray's own, without a class
            raise EnvironmentFault("Ray does not start on this machine: is it too busy, or short of memory or of space"
                                   " in /tmp/ray? Try again") from e
        return
    try:
        host_port = re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address)
        if host_port:  # Ray itself would try for minutes
            socket.create_connection((host_port[1], int(host_port[2])), REACH_SECONDS).close()
        ray.init(**quiet)
    except (OSError, OverflowError) as e:
        raise EnvironmentFault(NO_CLUSTER) from e


@contextmanager
def _loopback_alone() -> Iterator[None]:
    """A Ray that starts inside listens nowhere else. Its own switch for that bears the name of the systems where it is
    the rule; this process has read it already, those that it starts read it from the environment."""
    from ray._private import ray_constants

    before, name = ray_constants.ENABLE_RAY_CLUSTER, ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        del os.environ[name]
        ray_constants.ENABLE_RAY_CLUSTER = before
