"""The row of a shard: one study, as Python and as Arrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lvray.shards import cells
from lvray.shards.splits import NAMES as SPLITS

VERSION = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Row:
    """One study at ED, without a name, a date or a participant's id.

    participant, study, source: keyed hashes (identity.py); source is that of the file's content.
    image: int16 or float32 [Z, Y, X], base to apex; mask: uint8 [Z, Y, X] (0 background, 1 cavity, 2 myocardium).
    spacing: (dz, dy, dx) mm, dz the pitch; affine: float64 [4, 4], index (z, y, x, 1) to patient LPS mm.
    heart_yx: the heart's centre in pixels. ed_phase: from 1. Masses in g; inlinevf_g from its outlines, not centred.
    """

    participant: str
    study: str
    source: str
    visit: int | None = None
    split: str
    image: NDArray[Any]
    mask: NDArray[np.uint8] | None = None
    mask_source: Literal["inlinevf", "expert"] | None = None
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    heart_yx: tuple[float, float] | None = None
    ed_phase: int
    manual_g: float | None = None
    inlinevf_g: float | None = None
    sex: Literal["female", "male"] | None = None
    height_cm: float | None = None
    weight_kg: float | None = None
    flags: tuple[str, ...] = ()


SCHEMA = pa.schema([
    pa.field("participant", pa.string(), nullable=False),
    pa.field("study", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("visit", pa.int32()),
    pa.field("split", pa.string(), nullable=False),
    pa.field("dtype", pa.string(), nullable=False),
    pa.field("shape", pa.list_(pa.int32(), 3), nullable=False),
    pa.field("image", pa.binary(), nullable=False),
    pa.field("mask", pa.binary()),
    pa.field("mask_source", pa.string()),
    pa.field("spacing", pa.list_(pa.float64(), 3), nullable=False),
    pa.field("affine", pa.list_(pa.float64(), 16), nullable=False),
    pa.field("heart_yx", pa.list_(pa.float64(), 2)),
    pa.field("ed_phase", pa.int32(), nullable=False),
    pa.field("manual_g", pa.float64()),
    pa.field("inlinevf_g", pa.float64()),
    pa.field("sex", pa.string()),
    pa.field("height_cm", pa.float64()),
    pa.field("weight_kg", pa.float64()),
    pa.field("flags", pa.list_(pa.string()), nullable=False),
], metadata={"lvray.schema": str(VERSION)})

REJECTS = pa.schema([
    pa.field("study", pa.string(), nullable=False),
    pa.field("position", pa.int64(), nullable=False),
    pa.field("reason", pa.string(), nullable=False),
    pa.field("detail", pa.string(), nullable=False),
    pa.field("source", pa.string()),
], metadata={"lvray.schema": str(VERSION)})


@dataclass(frozen=True)
class Reject:
    """A study set aside: its keyed hash, position in the listing, reason code, one line, keyed source checksum."""

    study: str
    position: int
    reason: str
    detail: str
    source: str | None


def to_arrow(rows: Sequence[Row]) -> pa.Table:
    """Rows as a table of SCHEMA, tensors encoded. ValueError for a row that breaks the contract."""
    return pa.Table.from_pylist([_record(row) for row in rows], SCHEMA)


def from_arrow(table: pa.Table) -> list[Row]:
    """The rows of a table, tensors decoded; columns beyond the schema are left alone."""
    plain = table.select([n for n in SCHEMA.names if n not in ("image", "mask")]).to_pylist()
    return [_row(record, image.as_buffer(), mask.as_buffer())
            for record, image, mask in zip(plain, table["image"], table["mask"], strict=True)]


def _record(row: Row) -> dict[str, Any]:
    _check(row)
    record = {name: getattr(row, name) for name in SCHEMA.names if name not in ("dtype", "shape")}
    return record | {
        "dtype": row.image.dtype.name, "shape": row.image.shape, "image": cells.encode(row.image),
        "mask": None if row.mask is None else cells.encode(row.mask),
        "affine": row.affine.ravel().tolist(), "flags": list(row.flags)}


def _row(record: dict[str, Any], image: pa.Buffer, mask: pa.Buffer | None) -> Row:
    dtype, shape = record.pop("dtype"), record.pop("shape")
    return Row(**record | {
        "image": cells.decode(image, dtype, shape),
        "mask": None if mask is None else cells.decode(mask, np.uint8, shape),
        "spacing": tuple(record["spacing"]), "affine": np.array(record["affine"]).reshape(4, 4),
        "heart_yx": record["heart_yx"] and tuple(record["heart_yx"]), "flags": tuple(record["flags"])})


def _check(row: Row) -> None:
    numbers = (row.manual_g, row.inlinevf_g, row.height_cm, row.weight_kg, *(row.heart_yx or ()))
    faults = {
        "hashes are 32 hex digits": all(len(h) == 32 and set(h) <= set("0123456789abcdef")
                                        for h in (row.participant, row.study, row.source)),
        "image is int16 or float32 [Z, Y, X]": row.image.ndim == 3 and row.image.dtype in (np.int16, np.float32),
        "image is finite": bool(np.isfinite(row.image).all()),
        "mask is uint8 of the image's shape, 0 to 2": row.mask is None or (
            row.mask.dtype == np.uint8 and row.mask.shape == row.image.shape and int(row.mask.max(initial=0)) <= 2),
        "mask and mask_source go together": (row.mask is None) == (row.mask_source is None),
        "spacing is positive": all(0 < s < np.inf for s in row.spacing),
        "affine is finite [4, 4]": row.affine.shape == (4, 4) and bool(np.isfinite(row.affine).all()),
        "split is one of the four": row.split in SPLITS,
        "ed_phase counts from 1": row.ed_phase >= 1,
        "numbers are finite": all(np.isfinite(n) for n in numbers if n is not None),
    }
    broken = [rule for rule, holds in faults.items() if not holds]
    if broken:
        raise ValueError(f"row {row.study}: it must hold that {'; '.join(broken)}")
