"""h5py with gzip, one HD5 file a study, as ml4h keeps them; a torch DataLoader fetches whole files by boto3."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import boto3
import h5py
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from scripts.bench.rivals.rows import BATCH, volume
from scripts.bench.rivals.side import Place

Pair = tuple[Tensor, Tensor]


def write(place: Place) -> None:
    bucket, key = place.bucket_and_key
    client = boto3.client("s3")
    for number in range(place.rows):
        file = io.BytesIO()
        with h5py.File(file, "w") as hd5:
            for name, data in zip(("image", "mask"), volume(number), strict=True):
                hd5.create_dataset(name, data=data, compression="gzip")
        client.put_object(Bucket=bucket, Key=f"{key}/{number}.hd5", Body=file.getvalue())


class Studies(Dataset[Pair]):
    def __init__(self, place: Place) -> None:
        self.place = place
        self.client: Any = None

    def __len__(self) -> int:
        return self.place.rows

    def __getitem__(self, number: int) -> Pair:
        self.client = self.client or boto3.client("s3")  # a process each: clients do not travel
        bucket, key = self.place.bucket_and_key
        data = self.client.get_object(Bucket=bucket, Key=f"{key}/{number}.hd5")["Body"].read()
        with h5py.File(io.BytesIO(data)) as hd5:
            return torch.from_numpy(hd5["image"][()]), torch.from_numpy(hd5["mask"][()])


@contextmanager
def session(place: Place) -> Iterator[Callable[[], Iterator[Pair]]]:
    yield partial(_batches, place)


def _batches(place: Place) -> Iterator[Pair]:
    yield from DataLoader(Studies(place), batch_size=BATCH, shuffle=True, drop_last=True,
                          num_workers=place.options["workers"])
