"""lvray itself: its shards, streamed as training does, without the preparation of networks' boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from lvray.jobs.cluster import cluster
from lvray.settings import Stream, Tensorize
from lvray.shards import identity, manifest, parts, storage, stream, writer
from lvray.shards.dataset import open_dataset, select
from lvray.shards.schema import Row, to_arrow
from scripts.bench.rivals.rows import BATCH, volume
from scripts.bench.rivals.side import Place

KEY = b"a key for benches, 32 bytes long"


def write(place: Place) -> None:
    work = storage.join(place.uri, parts.FOLDER)
    notes = [parts.stage(work, f"{number}.parquet", to_arrow([_row(number)])) for number in range(place.rows)]
    made = writer.write(place.uri, work, pa.concat_tables(notes), [], studies=place.rows,
                        key=identity.fingerprint(KEY), settings=Tensorize())
    assert manifest.publish(place.uri, made)
    storage.delete_tree(work, "the parts")


def _row(number: int) -> Row:
    image, mask = volume(number)
    hashed = identity.keyed(KEY, "participant", str(number))
    return Row(participant=hashed, study=hashed, source=hashed, given=hashed, split="train", image=image, mask=mask,
               mask_source="inlinevf", spacing=(10.0, 1.8, 1.8), affine=np.eye(4), ed_phase=1, manual_g=90.0)


@contextmanager
def session(place: Place) -> Iterator[Callable[[], Iterator[tuple[Tensor, Tensor]]]]:
    with cluster() if place.options["reader"] == "ray" else nullcontext():
        yield partial(_batches, place)


def _batches(place: Place) -> Iterator[tuple[Tensor, Tensor]]:
    dataset = open_dataset(place.uri)
    for _, batch in stream.batches(dataset, select(dataset, ["train"]), Stream(batch=BATCH), _stacked, epochs=1,
                                   reader=place.options["reader"]):
        yield batch


def _stacked(rows: list[Row], epoch: int, at: list[int]) -> tuple[Tensor, Tensor]:
    image, mask = (np.stack([getattr(row, name) for row in rows]) for name in ("image", "mask"))
    return torch.from_numpy(image), torch.from_numpy(mask)
