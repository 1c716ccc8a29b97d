"""The manual labels: a TSV with a header line, in UK Biobank's columns (application id, LV mass; method.md)."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from typing import Literal

from lvray.errors import UseError
from lvray.shards import storage

ID_COLUMN, MASS_COLUMN = 1, 13
MASS_RANGE_G = (0.0, 500.0)
HEIGHT_RANGE_CM = (50.0, 260.0)
WEIGHT_RANGE_KG = (20.0, 400.0)
SEXES: dict[str, Literal["female", "male"]] = {"female": "female", "f": "female", "0": "female",
                                               "male": "male", "m": "male", "1": "male"}
"""0 and 1 are UK Biobank's codes (data coding 9)."""


@dataclass(frozen=True)
class Label:
    """What a person is known by beside the images. None: not given."""

    mass_g: float | None
    sex: Literal["female", "male"] | None
    height_cm: float | None
    weight_kg: float | None


def read_labels(uri: str) -> dict[str, Label]:
    """Labels by participant id: column 1 (from 0), mass in g in column 13, by header `sex, height_cm, weight_kg`.

    An empty cell is an unknown value. Raises UseError, with the line's number and never its content, for a value
    that is no number or out of range, for a short line and for an id that comes twice.
    """
    try:
        text = storage.read_bytes(uri, "the labels").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UseError(f"labels: byte {error.start} is not UTF-8") from error
    lines = list(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    if not lines or len(lines[0]) <= MASS_COLUMN or _is_number(lines[0][MASS_COLUMN]):
        raise UseError(f"labels: line 1 must be a header of at least {MASS_COLUMN + 1} tab-separated columns")
    columns = {name.strip().lower(): i for i, name in enumerate(lines[0])}
    labels: dict[str, Label] = {}
    for number, cells in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in cells):
            continue
        person, label = _parse(cells, columns, number)
        if person in labels:
            raise UseError(f"labels: line {number} repeats the id of an earlier line")
        labels[person] = label
    return labels


def _parse(cells: list[str], columns: dict[str, int], line: int) -> tuple[str, Label]:
    if len(cells) <= MASS_COLUMN or not cells[ID_COLUMN].strip():
        raise UseError(f"labels: line {line} needs an id in column {ID_COLUMN} and {MASS_COLUMN + 1} columns")

    def cell(name: str) -> str:
        at = columns.get(name, len(cells))
        return cells[at].strip() if at < len(cells) else ""

    sex = cell("sex").lower()
    if sex and sex not in SEXES:
        raise UseError(f"labels: line {line}: sex is none of {', '.join(SEXES)}")
    return cells[ID_COLUMN].strip(), Label(
        mass_g=_number(cells[MASS_COLUMN].strip(), MASS_RANGE_G, f"line {line}: LV mass (g)"),
        sex=SEXES.get(sex),
        height_cm=_number(cell("height_cm"), HEIGHT_RANGE_CM, f"line {line}: height (cm)"),
        weight_kg=_number(cell("weight_kg"), WEIGHT_RANGE_KG, f"line {line}: weight (kg)"))


def _number(text: str, within: tuple[float, float], where: str) -> float | None:
    if not text:
        return None
    value = float(text) if _is_number(text) else math.nan
    if not within[0] < value < within[1]:
        raise UseError(f"labels: {where} must be a number between {within[0]:g} and {within[1]:g}, ends excluded")
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
