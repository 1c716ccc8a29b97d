"""Rows and rejects to a data set: Parquet shards, an index, the rejects table and, last, the manifest."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import lvray
from lvray.errors import LvrayError
from lvray.settings import Tensorize
from lvray.shards import manifest, storage
from lvray.shards.manifest import Manifest, Part
from lvray.shards.schema import REJECTS, SCHEMA, VERSION, Reject

INDEXED = [name for name in SCHEMA.names if name not in ("image", "mask", "affine")]
PLACE = pa.schema([("shard", pa.int32()), ("group", pa.int32()), ("at", pa.int32()), ("has_mask", pa.bool_())])
INDEX = pa.schema([*PLACE, *(SCHEMA.field(name) for name in INDEXED)])
"""Place (shard as numbered in the manifest, row group, row in it), whether a mask is there, the scalar columns."""


def write(uri: str, outcomes: Iterable[pa.Table | Reject], *, studies: int, key: str, settings: Tensorize) -> Manifest:
    """Write and publish a data set of one outcome a study: a table of one row (`schema.to_arrow`), or a Reject.

    outcomes: in the order of the listing, which decides the bytes; encoded, so that the cost of it stays with
    whoever read the study. studies: how many there were; key: the fingerprint. Each shard holds one split, so that
    a training run reads no other people's bytes. Holds at most one shard of each split in memory.
    Raises LvrayError where studies and outcomes do not add up; UseError and EnvironmentFault as `manifest.publish`.
    """
    rejects: list[Reject] = []
    shards = sorted(_shards(uri, outcomes, settings, rejects), key=lambda shard: shard[0].name)
    index = pa.concat_tables([index_of(table, number, settings.group_rows)
                              for number, (_, table) in enumerate(shards)] or [INDEX.empty_table()])
    refused = pa.Table.from_pylist([asdict(r) for r in sorted(rejects, key=lambda r: r.position)], REJECTS)
    if index.num_rows + len(rejects) != studies:
        raise LvrayError(f"{studies} studies, but {index.num_rows} rows and {len(rejects)} rejects")
    shapes = np.array(index["shape"].to_pylist() or [(0, 0, 0)])
    made = Manifest(
        version=VERSION, code=lvray.__version__, key=key, studies=studies, settings=settings,
        shards=tuple(part for part, _ in shards),
        index=_store(uri, "index", index, settings.group_rows * 1024),
        rejects=_store(uri, "rejects", refused, settings.group_rows * 1024),
        max_shape=(int(shapes[:, 0].max()), int(shapes[:, 1].max()), int(shapes[:, 2].max())),
        splits=dict(Counter(index["split"].to_pylist())))
    manifest.publish(uri, made)
    return made


def index_of(table: pa.Table, shard: int, group_rows: int) -> pa.Table:
    """The index's rows of one shard; only the columns INDEXED and `has_mask` of `table` are used."""
    row = np.arange(table.num_rows, dtype=np.int32)
    place = [np.full_like(row, shard), row // group_rows, row % group_rows, table["has_mask"]]
    return pa.table([*place, *(table[name] for name in INDEXED)], schema=INDEX)


def without_tensors(table: pa.Table) -> pa.Table:
    return table.select(INDEXED).append_column("has_mask", pc.is_valid(table["mask"]))


def _shards(uri: str, outcomes: Iterable[pa.Table | Reject], settings: Tensorize,
            rejects: list[Reject]) -> Iterator[tuple[Part, pa.Table]]:
    """Write a shard each time a split has enough bytes, in whole row groups; -> (part, its rows without tensors)."""
    waiting: defaultdict[str, list[pa.Table]] = defaultdict(list)
    size: Counter[str] = Counter()
    written: Counter[str] = Counter()

    def flush(split: str) -> tuple[Part, pa.Table]:
        table = pa.concat_tables(waiting.pop(split)).combine_chunks()
        part = _store(uri, f"{split}-{written[split]:05d}", table, settings.group_rows)
        written[split] += 1
        size[split] = 0
        return part, without_tensors(table)

    for outcome in outcomes:
        if isinstance(outcome, Reject):
            rejects.append(outcome)
            continue
        split = outcome["split"][0].as_py()
        waiting[split].append(outcome)
        size[split] += outcome.nbytes
        if size[split] >= settings.shard_mb * 1_000_000 and len(waiting[split]) % settings.group_rows == 0:
            yield flush(split)
    for split in sorted(waiting):
        yield flush(split)


def _store(uri: str, stem: str, table: pa.Table, group_rows: int) -> Part:
    """One Parquet file, named by its content, so that a second writer can only write the same bytes again."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=group_rows, compression="none", use_dictionary=False,
                   write_statistics=False, write_page_checksum=True)
    data = sink.getvalue().to_pybytes()
    sha256 = hashlib.sha256(data).hexdigest()
    part = Part(name=f"{stem}-{sha256[:12]}.parquet", rows=table.num_rows, bytes=len(data), sha256=sha256)
    storage.write_atomic(storage.join(uri, part.name), data, part.name)
    return part
