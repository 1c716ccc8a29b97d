"""Hashes back to the ids they stand for: on the user's side only, by whoever holds the key."""

from __future__ import annotations

import csv
from pathlib import Path

from lvray.cmr.study import read_cine
from lvray.errors import StudyRefused, UseError
from lvray.shards.identity import keyed
from lvray.shards.listing import Source, list_studies
from lvray.shards.parts import read_parquet
from lvray.shards.studies import open_study


def link(file: Path, src: str, key: bytes) -> list[list[str]]:
    """The table of `file` (CSV or Parquet) with a column `id`: the participant for each hash, else the study's name.

    UseError: no column named participant or study, or hashes that the key and the source do not explain.
    """
    rows = _table(file)
    columns = [c for c in ("participant", "study") if c in rows[0]]
    if not columns:
        raise UseError("the table has no column named participant or study")
    known = _known(src, key, need_participants="participant" in columns)
    at = rows[0].index(columns[0])
    if len(rows) > 1 and not any(row[at] in known for row in rows[1:]):
        raise UseError("none of the hashes is of a study under --src: is this the key that they were made with?")
    return [[*rows[0], "id"], *([*row, known.get(row[at], "")] for row in rows[1:])]


def _table(file: Path) -> list[list[str]]:
    try:
        if file.suffix == ".parquet":
            table = read_parquet(file.read_bytes())
            return [table.column_names,
                    *(["" if v is None else str(v) for v in row.values()] for row in table.to_pylist())]
        with file.open(newline="") as lines:
            rows = list(csv.reader(lines))
    except Exception as e:  # pyarrow raises whatever the damaged bytes lead to
        raise UseError("the table cannot be read: a CSV with a header, or Parquet, is wanted") from e
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise UseError("the table is not a CSV with a header and as many cells in every line")
    return rows


def _known(src: str, key: bytes, need_participants: bool) -> dict[str, str]:
    known: dict[str, str] = {}
    for source in list_studies(src).studies:
        known[keyed(key, "study", source.name)] = source.name
        if need_participants and (person := _participant(source)) is not None:
            known[keyed(key, "participant", person)] = person
    return known


def _participant(source: Source) -> str | None:
    """Whom tensorize and predict hash: of UK Biobank's name, else the PatientID; None for a study they refuse."""
    named = source.participant_and_visit()
    if named:
        return named[0]
    try:
        with open_study(source) as study:
            return read_cine(study.members).patient or source.name
    except StudyRefused:
        return None
