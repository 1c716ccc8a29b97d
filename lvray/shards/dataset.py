"""A data set as its readers see it: the manifest and the index; the tensors stay where they are."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lvray.errors import UseError
from lvray.shards import manifest, storage, writer
from lvray.shards.manifest import Manifest, Part


@dataclass(frozen=True, eq=False)
class Dataset:
    """uri, absolute; manifest and the sha256 of its bytes; index: a line a row (writer.INDEX), numbered from 0."""

    uri: str
    manifest: Manifest
    checksum: str
    index: pa.Table

    def column(self, name: str) -> NDArray[Any]:
        """A column of the index [rows]; NaN or None where a value is absent."""
        return np.asarray(self.index[name].to_numpy())


def open_dataset(uri: str) -> Dataset:
    """UseError where there is no data set, or a damaged one, or one of another version; EnvironmentFault as storage."""
    uri = storage.absolute(uri)
    storage.preflight(uri, write=False, what="the data set")
    where = storage.join(uri, manifest.NAME)
    if not storage.exists(where, manifest.NAME):
        raise UseError(f"no data set there: {manifest.NAME} is missing; make one with `lvray tensorize SRC DST`")
    data = storage.read_bytes(where, manifest.NAME)
    found = manifest.from_json(data)
    index = _table(_checked(uri, found.index), found.index)
    if not index.schema.equals(writer.INDEX):
        raise UseError(f"{found.index.name} has other columns than this lvray expects: tensorize again")
    return Dataset(uri, found, hashlib.sha256(data).hexdigest(), index)


def select(dataset: Dataset, splits: Collection[str], need: Collection[str] = ()) -> NDArray[np.int64]:
    """Numbers of the rows of those splits that have every column of `need` ("mask", or any column of the index)."""
    kept = np.isin(dataset.column("split"), list(splits))
    for name in need:
        kept &= dataset.column("has_mask") if name == "mask" else dataset.index[name].is_valid().to_numpy()
    return np.flatnonzero(kept)


def rejects(dataset: Dataset) -> pa.Table:
    """The rejects table (schema.REJECTS), its checksum verified."""
    return _table(_checked(dataset.uri, dataset.manifest.rejects), dataset.manifest.rejects)


def verify(uri: str) -> Dataset:
    """Rehash and recount everything that the manifest lists. UseError names the first file that is not as listed."""
    dataset = open_dataset(uri)
    group_rows = dataset.manifest.settings.group_rows
    rejects(dataset)
    first = 0
    for number, part in enumerate(dataset.manifest.shards):
        table = _table(_checked(uri, part), part)
        held = writer.index_of(writer.without_tensors(table), number, group_rows)
        if not held.equals(dataset.index.slice(first, part.rows)):
            raise UseError(f"shard {part.name} holds other rows than the index lists: tensorize again")
        first += part.rows
    return dataset


def summary(uri: str) -> dict[str, Any]:
    """What `lvray shards show` prints: counts, sizes and ranges; no hash of a person."""
    dataset = open_dataset(uri)
    listed, index = dataset.manifest, dataset.index
    spacing = np.array(index["spacing"].to_pylist() or [(0, 0, 0)])
    return {
        "version": listed.version, "code": listed.code, "key": listed.key, "checksum": dataset.checksum,
        "studies": listed.studies, "rows": index.num_rows, "rejects": listed.rejects.rows,
        "reject_reasons": _counts(rejects(dataset)["reason"].to_pylist()),
        "shards": len(listed.shards), "bytes": sum(part.bytes for part in listed.shards),
        "splits": {split: _split_counts(dataset, split) for split in sorted(listed.splits)},
        "flags": _counts(flag for flags in index["flags"].to_pylist() for flag in flags),
        "max_shape": list(listed.max_shape),
        "spacing_mm": {"min": spacing.min(0).tolist(), "max": spacing.max(0).tolist()},
    }


def _split_counts(dataset: Dataset, split: str) -> dict[str, int]:
    rows = select(dataset, [split])
    people = {dataset.index["participant"][int(i)].as_py() for i in rows}
    return {"rows": len(rows), "participants": len(people),
            "with_mask": len(select(dataset, [split], ["mask"])),
            "with_manual_mass": len(select(dataset, [split], ["manual_g"]))}


def _counts(values: Any) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _checked(uri: str, part: Part) -> bytes:
    """The bytes of a listed file, compared with the manifest."""
    where = storage.join(uri, part.name)
    if not storage.exists(where, part.name):
        raise UseError(f"{part.name} is missing from the data set: tensorize again")
    data = storage.read_bytes(where, part.name)
    if hashlib.sha256(data).hexdigest() != part.sha256:
        raise UseError(f"{part.name} is damaged (its sha256 is not the manifest's): tensorize again")
    return data


def _table(data: bytes, part: Part) -> pa.Table:
    table = pq.read_table(io.BytesIO(data))
    if table.num_rows != part.rows:
        raise UseError(f"{part.name} holds {table.num_rows} rows, the manifest lists {part.rows}: tensorize again")
    return table
