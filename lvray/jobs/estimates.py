"""Estimates of a data set's rows: by checkpoints, in Ray tasks, and by others, from the user's files."""

from __future__ import annotations

import csv
import functools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from lvray.cmr.mass import MYOCARDIUM, grams
from lvray.errors import StudyRefused, UseError
from lvray.evidence.evaluation import METHODS
from lvray.jobs.in_order import in_order
from lvray.nets.predict import Predictor, load
from lvray.shards import folders, storage
from lvray.shards.dataset import Dataset
from lvray.shards.identity import keyed
from lvray.shards.schema import Row
from lvray.shards.stream import scan

CHUNK_ROWS = 8
NAMES = {"seg": "ML4Hseg", "reg": "ML4Hreg"}
MASKS = "masks"
"""The method's name of what --masks brings."""
OWN = (*(method.name for method in METHODS), MASKS)
HASH = re.compile(r"[0-9a-f]{32}")


def by_checkpoints(dataset: Dataset, rows: Sequence[int], checkpoints: Sequence[str],
                   progress: Callable[[int, int], None]) -> dict[int, dict[str, float | None]]:
    """{row number: {network: grams}}; None where a network refuses the study. Every row is answered once."""
    chunks = [list(rows[i:i + CHUNK_ROWS]) for i in range(0, len(rows), CHUNK_ROWS)]
    found: dict[int, dict[str, float | None]] = {}
    for estimated in in_order(_estimate_chunk, chunks, (dataset, tuple(map(storage.absolute, checkpoints)))):
        found.update(estimated)
        progress(len(found), len(rows))
    assert len(found) == len(rows)
    return found


def _estimate_chunk(rows: list[int], shared: tuple[Dataset, tuple[str, ...]]) -> dict[int, dict[str, float | None]]:
    dataset, checkpoints = shared
    predictors = [fetched(uri) for uri in checkpoints]
    return {number: {NAMES[p.network["kind"]]: estimate_row(p, row) for p in predictors}
            for number, row in scan(dataset, np.array(rows))}


@functools.lru_cache(maxsize=4)
def fetched(checkpoint: str) -> Predictor:
    """`fetch` in a Ray task: once a process, on the one CPU that a task has."""
    torch.set_num_threads(1)
    return fetch(checkpoint)


def fetch(checkpoint: str) -> Predictor:
    """The predictor of a checkpoint at a URI. CheckpointError, EnvironmentFault."""
    with folders.local(checkpoint, "the checkpoint") as folder:
        return load(folder)


def estimate_row(predictor: Predictor, row: Row) -> float | None:
    """Grams of a shard's row, which is in the canonical orientation already; None where the network refuses it."""
    if predictor.network["kind"] == "reg":
        try:
            return predictor.regress(row.image, row.spacing, row.heart_yx)
        except StudyRefused:
            return None
    mask = predictor.segment(row.image, row.spacing, row.heart_yx)
    return grams(mask, row.spacing) if (mask == MYOCARDIUM).any() else None


def from_csv(file: Path, key: bytes | None) -> dict[str, dict[str, float | None]]:
    """{method: {participant hash: grams}} from a CSV: a header, then (participant, grams, ...), a method a column.

    Participants are keyed hashes, or ids, which the key then turns into hashes. UseError: with the line's number.
    """
    try:
        lines = list(csv.reader(file.read_text("utf-8").splitlines()))
    except (OSError, UnicodeDecodeError) as e:
        raise UseError("--estimates: the CSV cannot be read") from e
    if len(lines) < 2 or len(lines[0]) < 2:
        raise UseError("--estimates: a CSV with a header, a participant column and one column a method is wanted")
    methods = [name.strip() for name in lines[0][1:]]
    if "" in methods or len({*methods, *OWN}) < len(methods) + len(OWN):
        raise UseError(f"--estimates: the header must name each method once, and not as one of {', '.join(OWN)}")
    found: dict[str, dict[str, float | None]] = {name: {} for name in methods}
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(lines[0]):
            raise UseError(f"--estimates: line {number} has {len(line)} columns, the header {len(lines[0])}")
        person = hashed(line[0].strip(), key, "--estimates")
        if person in found[methods[0]]:
            raise UseError(f"--estimates: line {number} repeats the participant of an earlier line")
        for name, cell in zip(found, line[1:], strict=True):
            found[name][person] = _grams(cell, f"--estimates: line {number}")
    return found


def from_masks(folder: Path, key: bytes | None) -> dict[str, float | None]:
    """{participant hash: grams} from NIfTI masks named by participant (hash or id), label 2 the myocardium."""
    files = sorted(folder.glob("*.nii*"))
    if not files:
        raise UseError("--masks: the folder holds no NIfTI file (.nii, .nii.gz)")
    found: dict[str, float | None] = {}
    for number, file in enumerate(files, 1):
        try:
            image = nib.nifti1.Nifti1Image.from_filename(file)
            mask: NDArray[Any] = np.asanyarray(image.dataobj)
            dx, dy, dz = (float(v) for v in image.header.get_zooms())
        except Exception as e:  # nibabel and gzip raise whatever the damaged bytes lead to
            raise UseError(f"--masks: file {number} is not a NIfTI mask that can be read") from e
        person = hashed(file.name.split(".")[0], key, "--masks")
        if person in found:
            raise UseError(f"--masks: file {number} is of the same participant as an earlier one")
        found[person] = grams(mask, (dz, dy, dx))
    return found


def hashed(person: str, key: bytes | None, option: str) -> str:
    """A participant's keyed hash from the hash itself or from an id."""
    if HASH.fullmatch(person):
        return person
    if key is None:
        raise UseError(f"{option}: participants are given by id, so the data set's key is needed: --key FILE")
    return keyed(key, "participant", person)


def _grams(cell: str, where: str) -> float | None:
    if not cell.strip():
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UseError(f"{where} holds a mass that is not a number; leave it empty where there is none")
    return value


def pictures(dataset: Dataset, rows: Sequence[int], predictor: Predictor) -> Iterator[tuple[Row, NDArray[np.uint8]]]:
    """Some rows with the segmenter's mask, for the report."""
    for _, row in scan(dataset, np.array(rows)):
        yield row, predictor.segment(row.image, row.spacing, row.heart_yx)
