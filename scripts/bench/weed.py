"""SeaweedFS as the S3 of a bench: one process on free loopback ports, its data kept in a folder."""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from lvray.shards import s3

READY_SECONDS = 60
PORTS = ("s3", "filer", "master", "volume", "metrics")
GRPC = 10_000
"""weed takes each port plus this one too."""
VOLUME_MB = 4096
"""The 128 MB that `weed mini` comes with would make hundreds of volumes of a cohort."""
SENT = re.compile(r'^SeaweedFS_s3_bucket_traffic_sent_bytes_total\{bucket="(.+)"\} (\S+)$', re.M)


@dataclass(frozen=True)
class Weed:
    """A running server."""

    pid: int
    metrics: str

    def sent(self, bucket: str) -> int:
        """Bytes of the objects of a bucket that clients were sent since the start, by the server's own count."""
        with urllib.request.urlopen(self.metrics) as answer:
            counted = dict(SENT.findall(answer.read().decode()))
        return int(float(counted.get(bucket, 0)))


@contextmanager
def weed(folder: Path, *buckets: str) -> Iterator[Weed]:
    """Inside, the AWS variables point at the server. RuntimeError: it does not come up."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench-secret", "AWS_REGION": "us-east-1",
                   "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}"}
    command = [str(Path(sys.executable).with_name("weed")), "mini", f"-dir={folder}", "-ip=127.0.0.1",
               "-ip.bind=127.0.0.1", *(f"-{name}.port={ports[name]}" for name in PORTS[:-1]),
               f"-metricsPort={ports['metrics']}", f"-master.volumeSizeLimitMB={VOLUME_MB}", "-s3.port.iceberg=0",
               "-s3.port.lance=0", "-webdav=false", "-admin.ui=false", "-master.telemetry=false"]
    with (folder / "weed.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        _wait(server, f"{os.environ['AWS_ENDPOINT_URL']}/healthz")
        standing = {bucket["Name"] for bucket in s3.clients().boto3.list_buckets()["Buckets"]}
        for bucket in set(buckets) - standing:
            s3.clients().boto3.create_bucket(Bucket=bucket)
        yield Weed(server.pid, f"http://127.0.0.1:{ports['metrics']}/metrics")
    finally:
        server.terminate()
        server.wait()


def free_ports(count: int) -> list[int]:
    """Ports that are free now, as are those that weed adds to each."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20_000, 44_000)
        if port not in found and all(_free(p) for p in (port, port + GRPC)):
            found.append(port)
    return found


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _wait(server: subprocess.Popen[bytes], health: str) -> None:
    end = time.monotonic() + READY_SECONDS
    while server.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(health, timeout=1):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError("weed does not come up: see weed.log in its folder")
