"""A real S3 on this machine: SeaweedFS's `weed`, with ports, data and keys of its own.

    weed = Weed(folder)
    weed.start(); os.environ |= weed.environment(); ...; weed.stop()

After kill(), start() serves the same data on the same ports. For benchmarks too, which run from the repository's root
by `python -m scripts.bench.NAME`: `from tests.weed import Weed`.
"""

from __future__ import annotations

import functools
import json
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = "lvray"
READER = ("reader", "reads-and-lists")
WRITER = ("writer", "may-do-anything")
"""Access key and secret of those who may read and list only, and who may do all."""
PORTS = range(20_000, 22_700)
"""weed takes each port + 10,000 too. No system gives these or those to outgoing connections by default."""
PATIENCE_S = 60


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that are free, and free 10,000 above."""
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with ExitStack() as both:
            try:
                for number in (port, port + 10_000):
                    both.enter_context(socket.socket()).bind(("127.0.0.1", number))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


@dataclass
class Weed:
    """folder: for the data and the log; more: options. The bucket BUCKET exists once start() has returned."""

    folder: Path
    ports: list[int] = field(default_factory=lambda: free_ports(5))
    more: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def environment(self, keys: tuple[str, str] = WRITER) -> dict[str, str]:
        """The AWS variables of a client."""
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": keys[0], "AWS_SECRET_ACCESS_KEY": keys[1]}

    def start(self) -> None:
        """Returns when the store answers; RuntimeError with the end of its log where it does not."""
        assert self.process is None
        identities = [{"name": name, "credentials": [{"accessKey": name, "secretKey": secret}], "actions": actions}
                      for (name, secret), actions in ((WRITER, ["Admin"]), (READER, ["Read", "List"]))]
        (self.folder / "identities.json").write_text(json.dumps({"identities": identities}))
        ports = [f"-{server}.port={port}" for server, port
                 in zip(("s3", "filer", "master", "volume", "admin"), self.ports, strict=True)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("weed"), "-logtostderr=true", "mini", f"-dir={self.folder}", *ports,
                 "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false",
                 "-admin.ui=false", "-master.telemetry=false", f"-s3.config={self.folder / 'identities.json'}",
                 f"-bucket={BUCKET}", *self.more],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        started = time.monotonic()
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() - started > PATIENCE_S:
                self.kill()
                raise RuntimeError("weed does not start:\n" + (self.folder / "log").read_text()[-2000:])
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL: as a machine that is lost. What was answered for stays in the folder."""
        assert self.process
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        """The same, and leave nothing elsewhere. In good order it takes up to 30 s."""
        self.kill()
        for port in self.ports:
            for number in (port, port + 10_000):
                for left in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):
                    left.unlink()

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=5):
                pass
            self._client.head_bucket(Bucket=BUCKET)
        except urllib.error.HTTPError as error:  # holds the connection open
            error.close()
            return False
        except (OSError, BotoCoreError, ClientError):
            return False
        return True

    @functools.cached_property
    def _client(self) -> Any:
        return boto3.Session().client("s3", endpoint_url=self.endpoint, region_name="us-east-1",
                                      aws_access_key_id=WRITER[0], aws_secret_access_key=WRITER[1])
