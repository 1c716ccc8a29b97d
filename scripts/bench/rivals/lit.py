"""litdata: its chunks, downloaded whole to a local cache. options: compression, e.g. zstd:1, or None."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import boto3
import torch
from litdata import StreamingDataLoader, StreamingDataset  # type: ignore[import-not-found]
from litdata.streaming import downloader  # type: ignore[import-not-found]
from litdata.streaming.writer import BinaryWriter  # type: ignore[import-not-found]
from torch import Tensor

from scripts.bench.rivals.rows import BATCH, volume
from scripts.bench.rivals.side import Place

Pair = tuple[Tensor, Tensor]


def write(place: Place) -> None:
    bucket, key = place.bucket_and_key
    level: dict[str, Any] = {"compression_level": "sample"} if place.options["compression"] else {}
    sink = BinaryWriter(str(place.cache), chunk_bytes="64MB", compression=place.options["compression"], **level)
    for number in range(place.rows):
        image, mask = volume(number)
        sink[number] = {"image": torch.from_numpy(image), "mask": torch.from_numpy(mask)}
    sink.done()
    sink.merge()
    for path in place.cache.iterdir():
        boto3.client("s3").upload_file(str(path), bucket, f"{key}/{path.name}")
    shutil.rmtree(place.cache)


@contextmanager
def session(place: Place) -> Iterator[Callable[[], Iterator[Pair]]]:
    yield partial(_batches, place)


def _batches(place: Place) -> Iterator[Pair]:
    downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True  # the bench's S3 is one without TLS
    store = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"], "region_name": os.environ["AWS_REGION"]}
    samples = StreamingDataset(place.uri, cache_dir=str(place.cache), shuffle=True, drop_last=False,
                               storage_options=store)
    for batch in StreamingDataLoader(samples, batch_size=BATCH, num_workers=place.options["workers"], drop_last=True):
        yield batch["image"], batch["mask"]
