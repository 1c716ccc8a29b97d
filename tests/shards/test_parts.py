"""Outcomes set aside and called back."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from lvray.shards import parts
from lvray.shards.schema import Reject, Row, from_arrow, to_arrow

REJECT = Reject("0" * 32, 3, "no_dicom", "no DICOM file in the study", None, "1" * 32)


def test_a_row_comes_back_whole_and_its_note_without_tensors(tmp_path: Path, rows: list[Row]) -> None:
    staged = parts.stage(str(tmp_path), "a.parquet", to_arrow(rows[:1]))
    assert isinstance(staged, pa.Table)
    assert staged.schema == parts.NOTE
    assert staged["study"].to_pylist() == [rows[0].study]
    assert parts.recall(str(tmp_path), "a.parquet") == staged
    (back,) = from_arrow(parts.fetch(str(tmp_path), "a.parquet"))
    assert (back.image == rows[0].image).all()


def test_a_reject_comes_back(tmp_path: Path) -> None:
    assert parts.stage(str(tmp_path), "a.parquet", REJECT) == REJECT
    assert parts.recall(str(tmp_path), "a.parquet") == REJECT


def test_a_part_that_another_run_cleared(tmp_path: Path) -> None:
    with pytest.raises(parts.Overtaken):
        parts.recall(str(tmp_path), "a.parquet")
