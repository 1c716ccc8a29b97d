"""What the sources looked like when they were read: a hint that saves a later run from reading them again.

Beside the data set and in no manifest: it depends on time and place. Where it is absent or wrong, sources are rehashed.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from lvray.shards import storage
from lvray.shards.parts import read_parquet

NAME = "seen.parquet"
SCHEMA = pa.schema([("study", pa.string()), ("version", pa.string())])


def read(uri: str) -> dict[str, str]:
    """{study's hash: keyed version of its files}; empty where there is no hint, or a damaged one."""
    where = storage.join(uri, NAME)
    if not storage.exists(where, NAME):
        return {}
    try:
        table = read_parquet(storage.read_bytes(where, NAME)).cast(SCHEMA)
    except (pa.ArrowException, OSError, ValueError):
        return {}
    return dict(zip(table["study"].to_pylist(), table["version"].to_pylist(), strict=True))


def write(uri: str, seen: Mapping[str, str]) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table([list(seen), list(seen.values())], schema=SCHEMA), sink)
    storage.write_atomic(storage.join(uri, NAME), sink.getvalue(), NAME)
