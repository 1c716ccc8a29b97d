"""webdataset: tars of samples, read through its own `curl` pipe. options: compressed, whether as .npz."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import torch
import webdataset as wds  # type: ignore[import-not-found]
from torch import Tensor

from scripts.bench.rivals.rows import BATCH, volume
from scripts.bench.rivals.side import Place

SHARD_BYTES = 48_000_000
SHUFFLED = 64
"""Samples of its shuffle buffer: as many as lvray's window."""
Pair = tuple[Tensor, Tensor]


def write(place: Place) -> None:
    bucket, key = place.bucket_and_key
    place.cache.mkdir(parents=True)

    def upload(path: str) -> None:
        boto3.client("s3").upload_file(path, bucket, f"{key}/{Path(path).name}")
        Path(path).unlink()

    with wds.ShardWriter(f"{place.cache}/%05d.tar", maxsize=SHARD_BYTES, post=upload, verbose=0) as sink:
        for number in range(place.rows):
            image, mask = volume(number)
            named: dict[str, Any] = ({"npz": {"image": image, "mask": mask}} if place.options["compressed"]
                                     else {"image.npy": image, "mask.npy": mask})
            sink.write({"__key__": f"{number:06d}", **named})


@contextmanager
def session(place: Place) -> Iterator[Callable[[], Iterator[Pair]]]:
    yield partial(_batches, place)


def _batches(place: Place) -> Iterator[Pair]:
    bucket, key = place.bucket_and_key
    client = boto3.client("s3")
    names = [found["Key"] for found in client.list_objects_v2(Bucket=bucket, Prefix=f"{key}/")["Contents"]]
    urls = [client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": name}) for name in names]
    samples = wds.WebDataset([f"pipe:curl -s -f '{url}'" for url in urls], shardshuffle=len(urls), seed=0,
                             empty_check=False)
    samples = samples.shuffle(SHUFFLED).decode()
    pairs = samples.map(_of_npz) if place.options["compressed"] else samples.to_tuple("image.npy", "mask.npy")
    loader = wds.WebLoader(pairs.map_tuple(torch.from_numpy, torch.from_numpy), batch_size=None,
                           num_workers=place.options["workers"])
    yield from loader.batched(BATCH, partial=False)


def _of_npz(sample: dict[str, Any]) -> tuple[Any, Any]:
    return sample["npz"]["image"], sample["npz"]["mask"]
