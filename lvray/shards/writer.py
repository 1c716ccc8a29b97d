"""Parts to a data set: Parquet shards, an index, the rejects table; all that a manifest lists."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import lvray
from lvray.errors import LvrayError
from lvray.settings import Tensorize
from lvray.shards import parts, storage
from lvray.shards.dataset import Dataset
from lvray.shards.index import INDEX, index_of
from lvray.shards.manifest import Manifest, Part
from lvray.shards.schema import REJECTS, SCHEMA, VERSION, Reject

FETCHERS = 4
INDEX_GROUP_ROWS = 16_384


@dataclass(frozen=True)
class Order:
    """A shard to be written. stem: what its name begins with; parts: file names in `work`, in the order of its rows."""

    uri: str
    stem: str
    work: str
    parts: tuple[str, ...]
    group_rows: int


def write(uri: str, work: str, notes: pa.Table, rejects: Sequence[Reject], *, studies: int, key: str,
          settings: Tensorize, standing: Dataset | None = None,
          do: Callable[[Sequence[Order]], Iterable[Part]] | None = None) -> Manifest:
    """Write everything of a generation but its manifest, which the caller publishes.

    notes: parts.NOTE, a line a new row, in the order that decides the bytes. rejects: all that shall stand. studies:
    how many all are, those of `standing` included. key: the fingerprint. Each shard holds one split, so that a
    training run reads no other people's bytes. do: carries the orders out, one after the other by default.
    Raises LvrayError where studies, rows and rejects do not add up; parts.Overtaken; EnvironmentFault.
    """
    old = standing.manifest.shards if standing else ()
    rows = notes.num_rows + sum(part.rows for part in old)
    if rows + len(rejects) != studies:
        raise LvrayError(f"{studies} studies, but {rows} rows and {len(rejects)} rejects")
    cut = list(_cut(notes, settings, Counter(part.name.split("-")[0] for part in old)))
    orders = [Order(uri, stem, work, tuple(notes["part"].take(at).to_pylist()), settings.group_rows)
              for stem, at in cut]
    new = tuple(do(orders) if do else map(write_shard, orders))
    index = pa.concat_tables([standing.index if standing else INDEX.empty_table(),
                              *(index_of(notes.take(at), number, settings.group_rows)
                                for number, (_, at) in enumerate(cut, len(old)))]).combine_chunks()
    refused = pa.Table.from_pylist([asdict(reject) for reject in rejects], REJECTS)
    shapes = np.array(index["shape"].to_pylist() or [(0, 0, 0)])
    return Manifest(
        version=VERSION, generation=standing.manifest.generation + 1 if standing else 1, code=lvray.__version__,
        key=key, studies=studies, settings=settings, shards=(*old, *new),
        index=_store(uri, "index", INDEX, [index], INDEX_GROUP_ROWS),
        rejects=_store(uri, "rejects", REJECTS, [refused], INDEX_GROUP_ROWS),
        max_shape=(int(shapes[:, 0].max()), int(shapes[:, 1].max()), int(shapes[:, 2].max())),
        splits=dict(Counter(index["split"].to_pylist())))


def write_shard(order: Order) -> Part:
    """Put the parts of a shard together, a row group at a time; holds the shard in memory."""
    with ThreadPoolExecutor(FETCHERS) as pool:
        groups = (pa.concat_tables(pool.map(partial(parts.fetch, order.work), order.parts[i:i + order.group_rows]))
                  for i in range(0, len(order.parts), order.group_rows))
        return _store(order.uri, order.stem, SCHEMA, groups, order.group_rows)


def _cut(notes: pa.Table, settings: Tensorize, written: Counter[str]) -> Iterator[tuple[str, list[int]]]:
    """(stem, lines of `notes`) of each new shard: one split, in whole row groups, cut where it has enough bytes."""
    splits, sizes = np.array(notes["split"].to_pylist()), notes["bytes"].to_numpy()
    for split in sorted(set(splits.tolist())):
        number, shard, size = written[split], [], 0
        for at in np.flatnonzero(splits == split).tolist():
            shard.append(at)
            size += int(sizes[at])
            if size >= settings.shard_mb * 1_000_000 and len(shard) % settings.group_rows == 0:
                yield f"{split}-{number:05d}", shard
                number, shard, size = number + 1, [], 0
        if shard:
            yield f"{split}-{number:05d}", shard


def _store(uri: str, stem: str, schema: pa.Schema, groups: Iterable[pa.Table], group_rows: int) -> Part:
    """One Parquet file, named by its content, so that a second writer can only write the same bytes again."""
    sink, rows = pa.BufferOutputStream(), 0
    with pq.ParquetWriter(sink, schema, compression="none", use_dictionary=False, write_statistics=False,
                          write_page_checksum=True) as file:
        for table in groups:
            file.write_table(table.combine_chunks(), row_group_size=group_rows)
            rows += table.num_rows
    data = sink.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    part = Part(name=f"{stem}-{sha256[:12]}.parquet", rows=rows, bytes=data.size, sha256=sha256)
    storage.write_checked(storage.join(uri, part.name), data, part.name)
    return part
