"""The service on Ray Serve.

    HTTP proxy --> Reader: takes, reads, cuts --> seg, reg: networks --> Reader: measures, answers
                                       Meter: adds up what readers count

A study, with whose it is, stays in the reader that took it. Ray's object store, which carries arguments to other
processes, spills them to disk when it fills; what goes there is pixels in the network's box.

Annotations are real types here: Serve looks at that of `build`.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve import Application

from lvray.errors import EnvironmentFault, LvrayError, UseError
from lvray.nets.step import ENVIRONMENT
from lvray.serving.keys import LOOPBACK, VARIABLE, Keys
from lvray.serving.meter import Meter
from lvray.serving.network import GPU_BATCH, Network, fetch
from lvray.serving.reader import Arguments, Reader
from lvray.settings import Replicas, Serve
from lvray.shards import storage
from lvray.weights.own import located

NAME = "lvray"
HOST = "127.0.0.1"
NO_ACCESS_LOG = {"log_level": "WARNING", "enable_access_log": False}
"""A request's path is the client's text, and may hold an id."""
MANY = 1000
"""Requests that Serve hands to a reader, which refuses by its own limits, with a problem document."""


def build(args: Arguments) -> Application:
    """For serveConfigV2: import_path lvray.serving.app:build. UseError: no checkpoint at all."""
    settings = args.settings
    uris = {kind: uri for kind, uri in (("seg", args.seg), ("reg", args.reg)) if uri}
    if not uris:
        raise UseError("args names no checkpoint: give seg, reg or both")
    networks = {}
    for kind, uri in uris.items():
        options = _options(settings.networks)
        if not settings.networks.gpus:
            options["ray_actor_options"]["runtime_env"] = {"env_vars": ENVIRONMENT}
        networks[kind] = serve.deployment(
            name=kind, user_config={"checkpoint": storage.absolute(located(uri))},
            max_ongoing_requests=2 * (settings.batch or GPU_BATCH), **options)(Network).bind(kind, settings)
    meter = serve.deployment(max_ongoing_requests=MANY, ray_actor_options={"num_cpus": 0})(Meter).bind()
    reader = serve.deployment(max_ongoing_requests=MANY, **_options(settings.readers))(Reader)
    made: Application = reader.bind(args.model_dump(mode="json"), meter, **networks)
    return made


def _options(asked: Replicas) -> dict[str, Any]:
    scale: dict[str, Any] = {"num_replicas": asked.replicas} if asked.most is None else {"autoscaling_config": {
        "min_replicas": asked.replicas, "max_replicas": asked.most, "target_ongoing_requests": asked.ongoing}}
    return {**scale, "ray_actor_options": {"num_cpus": asked.cpus, "num_gpus": asked.gpus},
            "graceful_shutdown_wait_loop_s": 0.2, "health_check_period_s": 5}


def arguments(checkpoints: Sequence[str], keys: Path | None, host: str, settings: Serve) -> Arguments:
    """Looks at everything before anything starts. UseError, CheckpointError, EnvironmentFault."""
    uris: dict[str, str] = {}
    for uri in (storage.absolute(located(one)) for one in checkpoints):  # replicas may run in another folder
        kind = fetch(uri).network["kind"]
        if kind in uris:
            raise UseError(f"two checkpoints of kind {kind}: one of each is served")
        uris[kind] = uri
    if keys is not None or os.environ.get(VARIABLE, "").strip():
        Keys(keys).check()
        return Arguments(seg=uris.get("seg"), reg=uris.get("reg"), keys=str(keys.resolve()) if keys else None,
                         settings=settings)
    if host not in LOOPBACK:
        raise UseError(f"--host {host} lets others in: give --keys FILE, or set LVRAY_API_KEYS")
    return Arguments(seg=uris.get("seg"), reg=uris.get("reg"), open=True, settings=settings)


def start(asked: Arguments, host: str = HOST, port: int = 8000) -> str:
    """Start the service on a running Ray; its URL, once it answers. EnvironmentFault: the port is taken, or Serve runs
    already and listens elsewhere."""
    _check_port(host, port)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(http_options={"host": host, "port": port}, logging_config=NO_ACCESS_LOG)
    _check_serve(host, port)
    try:
        serve.run(build(asked), name=NAME, logging_config=NO_ACCESS_LOG)
    except RuntimeError as error:
        raise LvrayError("the service did not start; Ray's log of the Serve replicas says why") from error
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def stop() -> None:
    """End the service. Serve itself ends with Ray, and until then keeps its port."""
    serve.delete(NAME)


def run(asked: Arguments, host: str = HOST, port: int = 8000) -> None:
    """Serve until SIGINT or SIGTERM; one more of them does not cut the end short. Raises what `start` raises."""
    url = start(asked, host, port)
    told: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: told.append(number))
    try:
        who = ("whoever is on this machine may ask" if asked.open else
               "asks for an API key" + ("" if host in LOOPBACK else ", without TLS: put a proxy that has it in front"))
        key = "" if asked.open else " -H 'Authorization: Bearer KEY'"
        print(f"ready, {who}: curl -H 'Content-Type: application/zip'{key} --data-binary @study.zip"
              f" {url}/v1/estimate", flush=True)
        while not told:
            time.sleep(0.2)
        print("stopping: some seconds", flush=True)
    finally:
        stop()


def _check_serve(host: str, port: int) -> None:
    """A Serve that ran before keeps to its own address, whatever is asked."""
    client = serve.context._get_global_client()
    assert client is not None
    options = client.http_config
    if (options.host, options.port) != (host, port):
        raise EnvironmentFault(f"Ray Serve runs on this cluster already, at {options.host}:{options.port}: give that as"
                               " --host and --port, or end it (serve shutdown)")


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise EnvironmentFault(f"port {port} cannot be used ({error.strerror}): choose another by --port"
                                   ) from error
