from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvray.settings import Splits
from lvray.shards import cells
from lvray.shards.schema import ED_COLUMNS, SCHEMA, Row, from_arrow, to_arrow
from lvray.shards.splits import NAMES, split_of


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 1, 1), (0, 4, 4)])
def test_cells_round_trip(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).normal(0, 50, shape).astype(dtype)
    back = cells.decode(cells.encode(array[:, ::-1]), dtype, shape)
    np.testing.assert_array_equal(back, array[:, ::-1])
    assert back.dtype == array.dtype
    assert back.flags.writeable


def test_cells_are_the_same_bytes_on_a_big_endian_machine() -> None:
    array = np.arange(60, dtype="<i2").reshape(3, 4, 5)
    assert cells.encode(array.astype(">i2")) == cells.encode(array)


def test_a_cut_cell_is_an_error() -> None:
    with pytest.raises(OSError, match="ZSTD"):
        cells.decode(cells.encode(np.arange(60))[:-3], "int64", (60,))


def test_rows_round_trip(rows: list[Row]) -> None:
    table = to_arrow(rows)
    assert table.schema.equals(SCHEMA, check_metadata=True)
    for row, back in zip(rows, from_arrow(table), strict=True):
        for field in dataclasses.fields(Row):
            np.testing.assert_equal(getattr(back, field.name), getattr(row, field.name))
        assert back.image.dtype == row.image.dtype


def test_a_table_of_end_diastole_alone(rows: list[Row]) -> None:
    for row, back in zip(rows, from_arrow(to_arrow(rows).select(ED_COLUMNS)), strict=True):
        np.testing.assert_equal(back.image, row.image)
        assert (back.others, back.other_masks, back.other_phases) == (None, None, row.other_phases)


@pytest.mark.parametrize(("change", "rule"), [
    ({"other_phases": (2,)}, "others are"),
    ({"others": np.zeros((1, 2, 9, 7), np.float32), "other_phases": (2,)}, "others are"),
    ({"other_masks": np.zeros((1, 3, 3), np.uint8), "other_mask_phases": (2,)}, "other masks are"),
    ({"participant": "1234567"}, "hashes are 32 hex"),
    ({"image": np.zeros((2, 3, 4))}, "int16 or float32"),
    ({"image": np.full((2, 9, 7), np.nan, np.float32)}, "image is finite"),
    ({"mask": np.full((2, 9, 7), 3, np.uint8)}, "0 to 2"),
    ({"mask": None}, "go together"),
    ({"spacing": (0.0, 1.8, 1.8)}, "spacing is positive"),
    ({"spacing": (float("nan"), 1.8, 1.8)}, "spacing is positive"),
    ({"split": "test"}, "one of the four"),
    ({"ed_phase": 0}, "counts from 1"),
    ({"manual_g": float("nan")}, "numbers are finite"),
    ({"affine": np.eye(3)}, "affine"),
])
def test_a_row_that_breaks_the_contract(rows: list[Row], change: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        to_arrow([dataclasses.replace(rows[0], **change)])


def test_splits_take_their_shares() -> None:
    people = [f"{i:032x}" for i in range(4000)]
    found = [split_of(p, Splits()) for p in people]
    for name, share in zip(NAMES, (0.65, 0.1, 0.1, 0.15), strict=True):
        assert abs(found.count(name) / 4000 - share) < 0.02
    assert split_of(people[0], Splits()) == found[0]
    assert [split_of(p, Splits(seed=1)) for p in people] != found


@given(st.text("0123456789abcdef", min_size=32, max_size=32))
def test_another_share_of_validation_moves_nobody_out_of_the_holdout(person: str) -> None:
    small, large = Splits(validation=0.0), Splits(validation=0.4)
    assert (split_of(person, small) == "holdout") == (split_of(person, large) == "holdout")
