"""lvray's own Parquet without lvray's stream: a plain pyarrow loop, or a torch DataLoader around it.

Row groups are shuffled, then the rows of each: what one writes in ten lines. options: workers, None for the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_collate, get_worker_info

from lvray.shards import cells, storage
from scripts.bench.rivals.rows import BATCH
from scripts.bench.rivals.side import Place

COLUMNS = ["dtype", "shape", "image", "mask"]
Pair = tuple[Tensor, Tensor]


class Shards(IterableDataset[Pair]):
    """The rows of every Parquet file at a URI; of several workers, each takes row groups of its own."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __iter__(self) -> Iterator[Pair]:
        rng = np.random.default_rng(0)
        fs, root = storage.pyarrow_filesystem(self.uri)
        names = [entry.name for entry in storage.list_entries(self.uri, "the shards")
                 if entry.name.startswith("train-")]
        files = [pq.ParquetFile(f"{root}/{name}", filesystem=fs, pre_buffer=True) for name in names]
        groups = [(file, group) for file in files for group in range(file.num_row_groups)]
        info = get_worker_info()
        mine = rng.permutation(len(groups))[info.id::info.num_workers] if info else rng.permutation(len(groups))
        for at in mine:
            file, group = groups[at]
            table = file.read_row_group(group, COLUMNS)
            for row in rng.permutation(len(table)):
                yield _decoded(table, int(row))


def _decoded(table: pa.Table, row: int) -> Pair:
    shape = table["shape"][row].as_py()
    image = cells.decode(table["image"][row].as_buffer(), table["dtype"][row].as_py(), shape)
    return torch.from_numpy(image), torch.from_numpy(cells.decode(table["mask"][row].as_buffer(), np.uint8, shape))


@contextmanager
def session(place: Place) -> Iterator[Callable[[], Iterator[Pair]]]:
    yield partial(_loop if place.options["workers"] is None else _loader, place)


def _loop(place: Place) -> Iterator[Pair]:
    waiting: list[Pair] = []
    for pair in Shards(place.uri):
        waiting.append(pair)
        if len(waiting) == BATCH:
            yield default_collate(waiting)
            waiting = []


def _loader(place: Place) -> Iterator[Pair]:
    yield from DataLoader(Shards(place.uri), batch_size=BATCH, num_workers=place.options["workers"], drop_last=True)
