"""The index: every row's place and its columns without the tensors, so that who needs few rows reads few bytes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from lvray.shards.parts import SCALARS
from lvray.shards.schema import SCHEMA

PLACE = pa.schema([("shard", pa.int32()), ("group", pa.int32()), ("at", pa.int32()), ("has_mask", pa.bool_())])
INDEX = pa.schema([*PLACE, *(SCHEMA.field(name) for name in SCALARS)])
"""Place (shard as numbered in the manifest, row group, row in it), whether a mask is there, the scalar columns."""


def index_of(rows: pa.Table, shard: int, group_rows: int) -> pa.Table:
    """The index's lines of one shard. rows: at least the scalar columns and `has_mask`, in the shard's order."""
    row = np.arange(rows.num_rows, dtype=np.int32)
    place = [np.full_like(row, shard), row // group_rows, row % group_rows, rows["has_mask"]]
    return pa.table([*place, *(rows[name] for name in SCALARS)], schema=INDEX)
