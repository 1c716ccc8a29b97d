"""The service on Ray Serve, on loopback, with one replica."""

from __future__ import annotations

import logging
import signal
import socket
import threading

from ray import serve
from ray.serve import Application

from lvray.errors import EnvironmentFault, LvrayError
from lvray.serving.model import Model
from lvray.serving.web import Web
from lvray.shards import storage

NAME = "lvray"
HOST = "127.0.0.1"
"""Whoever reaches the port may use it: loopback alone, until there are keys."""
NO_ACCESS_LOG = {"log_level": "WARNING", "enable_access_log": False}
"""A request's path is the client's text, and may hold an id."""
UPLOADS = 8
"""Held in memory by a replica at a time; more wait outside."""


def application(checkpoint: str) -> Application:
    """The Serve application that answers with the checkpoint at a URI. A new user_config rolls another one in."""
    deployment = serve.deployment(user_config={"checkpoint": checkpoint}, max_ongoing_requests=UPLOADS,
                                  ray_actor_options={"num_cpus": 0.5}, graceful_shutdown_wait_loop_s=0.2)
    return deployment(Web).bind()


def start(checkpoint: str, port: int = 8000) -> str:
    """Start the service on a running Ray; its URL, once it answers.

    Before anything starts, CheckpointError: the checkpoint is none; EnvironmentFault: it cannot be reached, or the port
    is taken.
    """
    uri = storage.absolute(checkpoint)  # replicas may run in another folder
    Model(uri)
    _check_port(port)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(http_options={"host": HOST, "port": port}, logging_config=NO_ACCESS_LOG)
    try:
        serve.run(application(uri), name=NAME, logging_config=NO_ACCESS_LOG)
    except RuntimeError as error:
        raise LvrayError("the service did not start; Ray's log of the Serve replicas says why") from error
    return f"http://{HOST}:{port}"


def stop() -> None:
    """End the service. Serve itself ends with Ray, and until then keeps its port."""
    serve.delete(NAME)


def run(checkpoint: str, port: int = 8000) -> None:
    """Serve until SIGINT or SIGTERM. Raises what `start` raises."""
    url = start(checkpoint, port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        print(f"ready: curl -H 'Content-Type: application/zip' --data-binary @study.zip {url}/v1/estimate", flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        stop()


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise EnvironmentFault(f"port {port} cannot be used ({error.strerror}): choose another") from error
