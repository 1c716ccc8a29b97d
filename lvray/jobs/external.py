"""What others know of the participants, from the user's files: their estimates, their masks, and diseases."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from lvray import console
from lvray.cmr.mass import grams
from lvray.cmr.nifti import read_mask
from lvray.errors import StudyRefused, UseError
from lvray.evidence.details import Outcome
from lvray.evidence.evaluation import METHODS
from lvray.evidence.overlap import Overlap, overlap
from lvray.shards.dataset import Dataset
from lvray.shards.identity import keyed
from lvray.shards.stream import scan

MASKS = "masks"
"""The method's name of what --masks brings, where none is given."""
OWN = tuple(method.name for method in METHODS)
HASH = re.compile(r"[0-9a-f]{32}")
ESTIMATE_G = (0.0, 1000.0)
"""What anybody may call a mass."""
AGES = (0.0, 130.0)
YES, NO = ("1", "true", "yes"), ("0", "false", "no")


def from_csv(file: Path, key: bytes | None) -> dict[str, dict[str, float | None]]:
    """{method: {participant hash: grams}} from a CSV: a header, then (participant, grams, ...), a method a column.

    Participants are keyed hashes, or ids, which the key then turns into hashes. UseError: with the line's number.
    """
    header, lines = _table(file, key, "--estimates", "one column a method")
    if len({*header, *OWN}) < len(header) + len(OWN):
        raise UseError(f"--estimates: the header must name each method once, and not as one of {', '.join(OWN)}")
    found: dict[str, dict[str, float | None]] = {name: {} for name in header}
    for where, person, cells in lines:
        for name, cell in zip(header, cells, strict=True):
            mass = _number(cell, f"{where} holds a mass")
            if mass is not None and not ESTIMATE_G[0] <= mass <= ESTIMATE_G[1]:
                raise UseError(f"{where} holds a mass outside {ESTIMATE_G[0]:g} to {ESTIMATE_G[1]:g} g")
            found[name][person] = mass
    return found


def outcomes_of(file: Path, key: bytes | None) -> dict[str, Outcome]:
    """Diseases by name, from a CSV: a header, then (participant, age in years, ...), a disease a column: 1, 0 or empty.

    UseError: with the line's number.
    """
    option = "--outcomes"
    header, lines = _table(file, key, option, "a column `age` and one column an outcome")
    if header[0].lower() != "age" or len(header) < 2:
        raise UseError(f"{option}: the second column is to be `age`, and each further one an outcome")
    has: dict[str, dict[str, bool | None]] = {name: {} for name in header[1:]}
    ages: dict[str, float | None] = {}
    for where, person, (age, *cells) in lines:
        years = _number(age, f"{where} holds an age")
        if years is not None and not AGES[0] <= years <= AGES[1]:
            raise UseError(f"{where} holds an age that nobody has: years are wanted")
        ages[person] = years
        for name, cell in zip(header[1:], cells, strict=True):
            if cell.lower() not in ("", *YES, *NO):
                raise UseError(f"{where} holds an outcome that is neither 1 nor 0 nor empty")
            has[name][person] = None if not cell else cell.lower() in YES
    return {name: Outcome(known, ages) for name, known in has.items()}


def _table(file: Path, key: bytes | None, option: str,
           wanted: str) -> tuple[list[str], Iterator[tuple[str, str, list[str]]]]:
    """The header but for its first column, and each line: where it is in words, its participant's hash, its cells."""
    try:
        lines = [[cell.strip() for cell in line] for line in csv.reader(file.read_text("utf-8-sig").splitlines())]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise UseError(f"{option}: the CSV cannot be read") from e
    if len(lines) < 2 or len(lines[0]) < 2:
        raise UseError(f"{option}: a CSV with a header, a participant column and {wanted} is wanted")
    header = lines[0][1:]
    if "" in header or len({*header}) < len(header):
        raise UseError(f"{option}: the header must name each column once")

    def each() -> Iterator[tuple[str, str, list[str]]]:
        seen = set()
        for number, line in enumerate(lines[1:], 2):
            where = f"{option}: line {number}"
            if len(line) != len(lines[0]):
                raise UseError(f"{where} has {len(line)} columns, the header {len(lines[0])}")
            person = hashed(line[0], key, option)
            if person in seen:
                raise UseError(f"{where} repeats the participant of an earlier line")
            seen.add(person)
            yield where, person, line[1:]

    return header, each()


def from_masks(files: Mapping[str, Path]) -> dict[str, float | None]:
    """{participant hash: grams} of NIfTI masks, label 2 the myocardium."""
    found: dict[str, float | None] = {}
    for number, (person, file) in enumerate(files.items(), 1):
        try:
            image = nib.nifti1.Nifti1Image.from_filename(file)
            mask: NDArray[Any] = np.asanyarray(image.dataobj)
            dx, dy, dz = (float(v) for v in image.header.get_zooms())
        except Exception as e:  # nibabel and gzip raise whatever the damaged bytes lead to
            raise UseError(f"--masks: file {number} is not a NIfTI mask that can be read") from e
        if not np.isin(mask, (0, 1, 2)).all():
            raise UseError(f"--masks: file {number} has labels besides 0, 1 (cavity) and 2 (myocardium): relabel them")
        found[person] = grams(mask, (dz, dy, dx))
    return found


def hashed(person: str, key: bytes | None, option: str) -> str:
    """A participant's keyed hash from the hash itself or from an id."""
    if HASH.fullmatch(person):
        return person
    if key is None:
        raise UseError(f"{option}: participants are given by id, so the data set's key is needed: --key FILE")
    return keyed(key, "participant", person)


def _number(cell: str, what: str) -> float | None:
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UseError(f"{what} that is not a number; leave it empty where there is none")
    return value


def files_of(folder: Path, key: bytes | None, dataset: Dataset) -> dict[str, Path]:
    """NIfTI masks by participant's hash; they are named by participant (hash or id), or by the study's hash, as
    `lvray predict --masks` does. UseError: none, or one participant twice."""
    of_study = dict(zip(*(dataset.index[name].to_pylist() for name in ("study", "participant")), strict=True))
    found: dict[str, Path] = {}
    for number, file in enumerate(sorted(folder.glob("*.nii*")), 1):
        person = hashed(file.name.split(".")[0], key, "--masks")
        person = of_study.get(person, person)
        if person in found:
            raise UseError(f"--masks: file {number} is of the same participant as an earlier one")
        found[person] = file
    if not found:
        raise UseError("--masks: the folder holds no NIfTI file (.nii, .nii.gz)")
    return found


def named_folder(given: str, taken: Collection[str]) -> tuple[str, Path]:
    """NAME=DIR, or DIR alone. UseError: a name that another method has, or no such folder."""
    name, equals, folder = given.rpartition("=")
    name = name if equals else MASKS
    if not name or name in (*OWN, *taken):
        raise UseError(f"--masks: {name or 'an empty name'} is another method's name; give NAME=DIR")
    if not Path(folder).is_dir():
        raise UseError("--masks: there is no folder of that name")
    return name, Path(folder)


def overlaps_of(files: Mapping[str, Path], dataset: Dataset) -> dict[str, dict[str, Overlap]]:
    """By participant: how a mask overlaps with the outlines of the first row of that participant that has any, where
    both lie in one grid. How many do not is said."""
    outlined = dataset.column("has_mask")
    wanted = [row for row, who in enumerate(dataset.index["participant"].to_pylist()) if who in files and outlined[row]]
    found: dict[str, dict[str, Overlap]] = {}
    elsewhere = set()
    for _, row in scan(dataset, np.array(wanted, np.int64)):
        assert row.mask is not None
        try:
            theirs = read_mask(files[row.participant], row.image.shape, row.affine)
        except StudyRefused:
            elsewhere.add(row.participant)
            continue
        found.setdefault(row.participant, overlap(theirs, row.mask, row.spacing))
    if elsewhere - found.keys():
        console.say(f"--masks: {len(elsewhere - found.keys())} masks lie in another grid than the data set's images:"
                    " their grams count, Dice and distances are of the others")
    return found
