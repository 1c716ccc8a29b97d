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

VERSION = 2


@dataclass(frozen=True, eq=False, kw_only=True)
class Row:
    """One study, without a name, a date or a participant's id.

    participant, study, source, given: keyed hashes (identity.py); source is that of the study's bytes, given that of
    its label, contours and listed split.
    image: int16 or float32 [Z, Y, X] at ED, base to apex; mask: uint8 [Z, Y, X] (0 background, 1 cavity, 2 myocardium).
    spacing: (dz, dy, dx) mm, dz the pitch; affine: float64 [4, 4], index (z, y, x, 1) to patient LPS mm.
    heart_yx: the heart's centre in pixels. Phases count from 1. Masses in g; inlinevf_g from its outlines, not centred.
    others: the images of `other_phases` [P, Z, Y, X], where settings.Tensorize.phases keeps more than ED; other_masks:
    uint8 [Q, Z, Y, X], the masks of those among them that are outlined, `other_mask_phases`.
    """

    participant: str
    study: str
    source: str
    given: str
    visit: int | None = None
    split: str
    image: NDArray[Any]
    mask: NDArray[np.uint8] | None = None
    mask_source: Literal["inlinevf", "expert"] | None = None
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    heart_yx: tuple[float, float] | None = None
    ed_phase: int
    es_phase: int | None = None
    manual_g: float | None = None
    inlinevf_g: float | None = None
    sex: Literal["female", "male"] | None = None
    height_cm: float | None = None
    weight_kg: float | None = None
    flags: tuple[str, ...] = ()
    others: NDArray[Any] | None = None
    other_phases: tuple[int, ...] = ()
    other_masks: NDArray[np.uint8] | None = None
    other_mask_phases: tuple[int, ...] = ()


SCHEMA = pa.schema([
    pa.field("participant", pa.string(), nullable=False),
    pa.field("study", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("given", pa.string(), nullable=False),
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
    pa.field("es_phase", pa.int32()),
    pa.field("manual_g", pa.float64()),
    pa.field("inlinevf_g", pa.float64()),
    pa.field("sex", pa.string()),
    pa.field("height_cm", pa.float64()),
    pa.field("weight_kg", pa.float64()),
    pa.field("flags", pa.list_(pa.string()), nullable=False),
    pa.field("others", pa.binary()),
    pa.field("other_phases", pa.list_(pa.int32()), nullable=False),
    pa.field("other_masks", pa.binary()),
    pa.field("other_mask_phases", pa.list_(pa.int32()), nullable=False),
], metadata={"lvray.schema": str(VERSION)})
BEYOND_ED = ("others", "other_masks")
TENSORS = ("image", "mask", *BEYOND_ED)
ED_COLUMNS = [name for name in SCHEMA.names if name not in BEYOND_ED]
"""What training at ED reads of a shard."""

REJECTS = pa.schema([
    pa.field("study", pa.string(), nullable=False),
    pa.field("position", pa.int64(), nullable=False),
    pa.field("reason", pa.string(), nullable=False),
    pa.field("detail", pa.string(), nullable=False),
    pa.field("source", pa.string()),
    pa.field("given", pa.string()),
], metadata={"lvray.schema": str(VERSION)})


@dataclass(frozen=True)
class Reject:
    """A study set aside: its keyed hash, position in the listing that it was read from, reason code, one line.

    source: keyed checksum of its bytes, None where they could not be read; given: as a row's, of the contours alone;
    None in a table of predictions.
    """

    study: str
    position: int
    reason: str
    detail: str
    source: str | None
    given: str | None = None


def to_arrow(rows: Sequence[Row]) -> pa.Table:
    """Rows as a table of SCHEMA, tensors encoded. ValueError for a row that breaks the contract."""
    return pa.Table.from_pylist([_record(row) for row in rows], SCHEMA)


def from_arrow(table: pa.Table) -> list[Row]:
    """The rows of a table, tensors decoded. A table of ED_COLUMNS alone gives rows without the other phases."""
    tensors = [name for name in TENSORS if name in table.column_names]
    plain = table.select([name for name in SCHEMA.names if name not in TENSORS]).to_pylist()
    cells_of = [[cell.as_buffer() for cell in table[name]] for name in tensors]
    return [_row(record, dict(zip(tensors, own, strict=True)))
            for record, *own in zip(plain, *cells_of, strict=True)]


def _record(row: Row) -> dict[str, Any]:
    _check(row)
    record = {name: getattr(row, name) for name in SCHEMA.names if name not in ("dtype", "shape", *TENSORS)}
    for name in TENSORS:
        array = getattr(row, name)
        record[name] = None if array is None else cells.encode(array)
    return record | {
        "dtype": row.image.dtype.name, "shape": row.image.shape, "affine": row.affine.ravel().tolist(),
        **{name: list(getattr(row, name)) for name in ("flags", "other_phases", "other_mask_phases")}}


def _row(record: dict[str, Any], tensors: dict[str, pa.Buffer | None]) -> Row:
    dtype, shape = record.pop("dtype"), record.pop("shape")
    lists = {name: tuple(record[name]) for name in ("flags", "other_phases", "other_mask_phases", "spacing")}
    kinds = {"image": (dtype, shape), "mask": (np.uint8, shape),
             "others": (dtype, [len(lists["other_phases"]), *shape]),
             "other_masks": (np.uint8, [len(lists["other_mask_phases"]), *shape])}
    decoded = {name: None if cell is None else cells.decode(cell, *kinds[name]) for name, cell in tensors.items()}
    affine, heart = np.array(record["affine"]).reshape(4, 4), record["heart_yx"]
    return Row(**record | lists | decoded | {"affine": affine, "heart_yx": heart and tuple(heart)})


def _check(row: Row) -> None:
    numbers = (row.manual_g, row.inlinevf_g, row.height_cm, row.weight_kg, *(row.heart_yx or ()))
    faults = {
        "hashes are 32 hex digits": all(len(h) == 32 and set(h) <= set("0123456789abcdef")
                                        for h in (row.participant, row.study, row.source, row.given)),
        "image is int16 or float32 [Z, Y, X]": row.image.ndim == 3 and row.image.dtype in (np.int16, np.float32),
        "image is finite": bool(np.isfinite(row.image).all()),
        "mask is uint8 of the image's shape, 0 to 2": row.mask is None or (
            row.mask.dtype == np.uint8 and row.mask.shape == row.image.shape and int(row.mask.max(initial=0)) <= 2),
        "others are [P, Z, Y, X] of the image's kind": _stacked(row, row.others, row.other_phases, row.image.dtype),
        "other masks are uint8 [Q, Z, Y, X]": _stacked(row, row.other_masks, row.other_mask_phases, np.uint8),
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


def _stacked(row: Row, array: NDArray[Any] | None, phases: tuple[int, ...], dtype: Any) -> bool:
    if array is None:
        return not phases
    return array.shape == (len(phases), *row.image.shape) and array.dtype == dtype and bool(np.isfinite(array).all())
