"""A data set as its readers see it: the manifest and the index; the tensors stay where they are."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lvray.errors import UseError
from lvray.shards import manifest, seen, storage
from lvray.shards.index import INDEX, index_of
from lvray.shards.manifest import Manifest, Part
from lvray.shards.parts import read_parquet
from lvray.shards.patience import patiently
from lvray.shards.schema import TENSORS


class OtherData(UseError):
    """No generation of the data set has the manifest that is asked for."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """uri, absolute; manifest and the sha256 of its bytes; index: a line a row (index.INDEX), numbered from 0."""

    uri: str
    manifest: Manifest
    checksum: str
    index: pa.Table

    def column(self, name: str) -> NDArray[Any]:
        """A column of the index [rows]; NaN or None where a value is absent."""
        return np.asarray(self.index[name].to_numpy())


def open_dataset(uri: str, checksum: str | None = None) -> Dataset:
    """The generation at a URI whose manifest has that sha256; without one, the last.

    OtherData where there is no such generation; UseError: no data set, a damaged one, or one of another version;
    EnvironmentFault as storage.
    """
    uri = storage.absolute(uri)
    storage.preflight(uri, write=False, what="the data set")
    standing = manifest.generations(uri)
    if not standing:
        raise UseError(f"no data set there: {manifest.name(1)} is missing; make one with `lvray tensorize SRC DST`")
    found, data = manifest.read(uri, standing[-1])
    for generation in standing[:-1] if checksum else []:
        earlier = manifest.read(uri, generation)
        if hashlib.sha256(earlier[1]).hexdigest() == checksum:
            found, data = earlier
    if checksum not in (None, hashlib.sha256(data).hexdigest()):
        raise OtherData("the data set has no generation with the manifest that is asked for: is it another data set, or"
                        " was it made anew?")
    index = _table(_checked(uri, found.index), found.index)
    if not index.schema.equals(INDEX):
        raise UseError(f"{found.index.name} has other columns than this lvray expects: tensorize anew")
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
        rows = table.drop_columns(list(TENSORS)).append_column("has_mask", pc.is_valid(table["mask"]))
        if not index_of(rows, number, group_rows).equals(dataset.index.slice(first, part.rows)):
            raise UseError(f"shard {part.name} holds other rows than the index lists: tensorize into another DST")
        first += part.rows
    return dataset


def check_sizes(dataset: Dataset) -> None:
    """Whether every shard is there with as many bytes as it should have; reads none. UseError names the first."""
    there = {entry.name: entry.size for entry in storage.list_entries(dataset.uri, "the data set")}
    for part in dataset.manifest.shards:
        if there.get(part.name) != part.bytes:
            raise UseError(f"shard {part.name} is missing from the data set or has another size: tensorize into another"
                           " DST")


def verify_shards(dataset: Dataset, rows: NDArray[np.int64]) -> None:
    """Rehash the shards that hold those rows. UseError names the first that is not as listed."""
    for number in np.unique(dataset.column("shard")[rows]).tolist():
        part = dataset.manifest.shards[number]
        found = patiently(partial(storage.sha256, storage.join(dataset.uri, part.name), f"shard {part.name}"))
        if found != part.sha256:
            raise UseError(f"shard {part.name} is damaged (its sha256 is not the manifest's): tensorize into another"
                           " DST")


def unlisted(dataset: Dataset) -> list[str]:
    """Files beside the data set that no generation lists: what interrupted runs left. Nobody reads them."""
    known = {seen.NAME}
    for generation in manifest.generations(dataset.uri):
        listed, _ = manifest.read(dataset.uri, generation)
        known |= {manifest.name(generation), *(p.name for p in (*listed.shards, listed.index, listed.rejects))}
    return [e.name for e in storage.list_entries(dataset.uri, "the data set") if not e.folder and e.name not in known]


def summary(uri: str) -> dict[str, Any]:
    """What `lvray shards show` prints: counts, sizes and ranges; no hash of a person."""
    dataset = open_dataset(uri)
    listed, index = dataset.manifest, dataset.index
    spacing = np.array(index["spacing"].to_pylist() or [(0, 0, 0)])
    return {
        "version": listed.version, "code": listed.code, "key": listed.key, "checksum": dataset.checksum,
        "generation": listed.generation, "settings": listed.settings.model_dump(mode="json"),
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
        raise UseError(f"{part.name} is missing from the data set: tensorize into another DST")
    data = storage.read_bytes(where, part.name)
    if hashlib.sha256(data).hexdigest() != part.sha256:
        raise UseError(f"{part.name} is damaged (its sha256 is not the manifest's): tensorize into another DST")
    return data


def _table(data: bytes, part: Part) -> pa.Table:
    table = read_parquet(data)
    if table.num_rows != part.rows:
        raise UseError(f"{part.name} holds {table.num_rows} rows, the manifest lists {part.rows}: tensorize anew")
    return table
