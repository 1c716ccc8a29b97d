"""Reading rows out of shards, tensors still encoded. Read tasks import this: so no ray and no torch here."""

from __future__ import annotations

from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from lvray.errors import UseError
from lvray.shards import storage
from lvray.shards.manifest import Part
from lvray.shards.patience import patiently
from lvray.shards.schema import ED_COLUMNS


def read_block(block: pa.Table, uri: str, shards: tuple[Part, ...], columns: list[str] = ED_COLUMNS) -> pa.Table:
    """The rows that a block names, in its order, with their `row` numbers.

    block: columns row, shard, group, at (int), and study, which the shard's must be. columns: of schema.SCHEMA, study
    among them. Each row group is read once however many of its rows are named.
    UseError names a shard that is missing, damaged or other than listed; EnvironmentFault where the store or the disk
    fails: a store that is gone is waited for first (`patiently`).
    """
    places = list(zip(block["shard"].to_pylist(), block["group"].to_pylist(), strict=True))
    groups = sorted(set(places))
    tables = [table for shard in sorted({shard for shard, _ in groups})
              for table in patiently(partial(_read_groups, uri, shards[shard],
                                             [g for s, g in groups if s == shard], columns))]
    firsts: dict[tuple[int, int], int] = {}
    total = 0
    for place, table in zip(groups, tables, strict=True):
        firsts[place], total = total, total + table.num_rows
    wanted = [firsts[place] + at for place, at in zip(places, block["at"].to_pylist(), strict=True)]
    found = pa.concat_tables(tables).take(wanted)
    if found["study"].to_pylist() != block["study"].to_pylist():
        named = ", ".join(shards[shard].name for shard in sorted({shard for shard, _ in groups}))
        raise UseError(f"shard {named} holds other studies than the index lists there: tensorize anew")
    return found.append_column("row", block["row"])


def _read_groups(uri: str, part: Part, groups: list[int], columns: list[str]) -> list[pa.Table]:
    fs, root = storage.pyarrow_filesystem(uri)
    with storage.faults(f"read shard {part.name}"):
        try:
            source = fs.open_input_file(f"{root}/{part.name}")
        except FileNotFoundError as error:
            raise UseError(f"shard {part.name} is missing from the data set: tensorize into another DST") from error
        with source:
            return _parse(source, part, groups, columns)


def _parse(source: pa.NativeFile, part: Part, groups: list[int], columns: list[str]) -> list[pa.Table]:
    if source.size() != part.bytes:
        raise UseError(f"shard {part.name} has {source.size()} bytes, the manifest lists {part.bytes}: tensorize anew")
    try:
        with pq.ParquetFile(source, pre_buffer=True, page_checksum_verification=True) as file:
            if file.metadata.num_rows == part.rows:
                return [file.read_row_group(group, columns) for group in groups]
            found = file.metadata.num_rows
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and (error.errno or "AWS Error" in str(error)):
            raise
        raise UseError(f"shard {part.name} is damaged: run `lvray shards verify`") from error
    raise UseError(f"shard {part.name} holds {found} rows, the manifest lists {part.rows}: tensorize anew")
