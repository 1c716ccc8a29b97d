"""SeaweedFS as the S3 of a bench, with its own count of the bytes that it sends."""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lvray.shards import s3
from tests.weed import Weed, free_ports

VOLUME_MB = 4096
"""The 128 MB that `weed mini` comes with would make hundreds of volumes of a cohort."""
SENT = re.compile(r'^SeaweedFS_s3_bucket_traffic_sent_bytes_total\{bucket="(.+)"\} (\S+)$', re.M)


@dataclass(frozen=True)
class Traffic:
    """metrics: the URL of the server's counters."""

    metrics: str

    def sent(self, bucket: str) -> int:
        """Bytes of the objects of a bucket that clients were sent since the start."""
        with urllib.request.urlopen(self.metrics) as answer:
            counted = dict(SENT.findall(answer.read().decode()))
        return int(float(counted.get(bucket, 0)))


@contextmanager
def weed(folder: Path, *buckets: str) -> Iterator[Traffic]:
    """Inside, the AWS variables point at a server whose data stay in `folder`. RuntimeError: it does not come up."""
    folder.mkdir(parents=True, exist_ok=True)
    port, = free_ports(1)
    store = Weed(folder, more=(f"-metricsPort={port}", f"-master.volumeSizeLimitMB={VOLUME_MB}"))
    store.start()
    os.environ |= store.environment()
    try:
        client = s3.clients().boto3
        for bucket in set(buckets) - {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket=bucket)
        yield Traffic(f"http://127.0.0.1:{port}/metrics")
    finally:
        store.stop()
