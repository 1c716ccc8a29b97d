"""Outcomes set aside until a manifest lists them, a small file a study: a killed run loses only what it was at.

    DST/.lvray-work/<what the rows depend on>/<study's hash>-<its version>.parquet

No reader of a data set looks there. A part appears whole or not at all.
"""

from __future__ import annotations

from dataclasses import asdict

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lvray.errors import EnvironmentFault, LvrayError
from lvray.shards import storage
from lvray.shards.schema import REJECTS, SCHEMA, TENSORS, Reject

FOLDER = ".lvray-work"
"""A name that nobody else uses: it is cleared once a manifest stands. Listings of sources skip hidden names."""
SCALARS = [name for name in SCHEMA.names if name not in (*TENSORS, "affine")]
NOTE = pa.schema([pa.field("part", pa.string()), pa.field("bytes", pa.int64()), pa.field("has_mask", pa.bool_()),
                  *(SCHEMA.field(name) for name in SCALARS)])
"""What the job remembers of a row: where its part is, the bytes of its tensors, and its other columns."""


class Overtaken(LvrayError):
    """Another run published to the same place first, and cleared the parts: look again at what is left to do."""


def name(study: str, version: str) -> str:
    """study: its hash; version: keyed hash of what tells that its files have not changed."""
    return f"{study}-{version[:12]}.parquet"


def stage(folder: str, part: str, outcome: pa.Table | Reject) -> pa.Table | Reject:
    """Set a study's outcome aside -> its note (NOTE), or the reject itself."""
    table = pa.Table.from_pylist([asdict(outcome)], REJECTS) if isinstance(outcome, Reject) else outcome
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none", use_dictionary=False, write_statistics=False,
                   write_page_checksum=True)
    storage.write_atomic(storage.join(folder, part), sink.getvalue(), "a part of the data set")
    return outcome if isinstance(outcome, Reject) else note(outcome, part)


def recall(folder: str, part: str) -> pa.Table | Reject:
    """What `stage` gave. Overtaken."""
    table = fetch(folder, part)
    return Reject(**table.to_pylist()[0]) if table.schema.names == REJECTS.names else note(table, part)


def fetch(folder: str, part: str) -> pa.Table:
    """The outcome as it was staged: a table of one row of SCHEMA, or of REJECTS. Overtaken also where it is damaged."""
    try:
        data = storage.read_bytes(storage.join(folder, part), "a part of the data set")
    except EnvironmentFault as fault:
        if isinstance(fault.__cause__, FileNotFoundError):
            raise Overtaken("another run published to the same place and cleared the parts") from fault
        raise
    try:
        table = read_parquet(data)
    except (pa.ArrowException, OSError) as error:
        raise Overtaken("a part of the data set is damaged") from error
    if table.schema not in (SCHEMA, REJECTS) or not table.num_rows:
        raise Overtaken("a part of the data set is damaged")
    return table


def read_parquet(data: bytes) -> pa.Table:
    """A whole file. pq.read_table would read it on threads that may outlive it, which at exit ends in an abort."""
    with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
        return file.read(use_threads=False)


def note(row: pa.Table, part: str) -> pa.Table:
    cells = sum(pc.sum(pc.binary_length(row[name])).as_py() or 0 for name in TENSORS)
    return pa.table([[part], [cells], pc.is_valid(row["mask"]), *(row[name] for name in SCALARS)], schema=NOTE)
