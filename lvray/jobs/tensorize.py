"""The tensorize job: a listing of studies to a data set of shards, one Ray task a study."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from lvray import console
from lvray.errors import UseError
from lvray.jobs.in_order import in_order
from lvray.settings import Tensorize
from lvray.shards import manifest, storage
from lvray.shards.convert import Context, convert
from lvray.shards.identity import fingerprint
from lvray.shards.labels import read_labels
from lvray.shards.listing import Source, bare, check_apart, list_studies
from lvray.shards.manifest import Manifest
from lvray.shards.schema import Reject
from lvray.shards.writer import write

Progress = Callable[[int, int, int], None]
"""(studies done, of how many, refused so far)."""


def tensorize(src: str, dst: str, *, key: bytes, settings: Tensorize, labels: str | None = None,
              contours: Path | None = None, link: Path | None = None,
              progress: Progress = lambda done, of, refused: None) -> Manifest:
    """Read every study under `src` and publish the data set at `dst`; Ray must be running.

    labels: URI of the TSV, `src`/labels.tsv where that exists. contours, link: a folder of text contours and the CSV
    (study name, contour folder) that says whose they are. UseError, EnvironmentFault: before any work starts, or where
    another data set stands at `dst`. Refused studies are in the manifest's rejects table.
    """
    check_apart(src, dst, "DST")
    listing = list_studies(src)
    storage.preflight(dst, write=True, what="DST")
    _check_standing(dst, key)
    context = Context(key, settings, _labels(src, labels), _contours(contours, link, listing.studies))
    outcomes = _outcomes(listing.studies, context, progress)
    return write(dst, outcomes, studies=len(listing.studies), key=fingerprint(key), settings=settings)


def _check_standing(dst: str, key: bytes) -> None:
    where = storage.join(dst, manifest.NAME)
    if storage.exists(where, manifest.NAME):
        standing = manifest.from_json(storage.read_bytes(where, manifest.NAME))
        manifest.check_key(standing, fingerprint(key))


def _labels(src: str, labels: str | None) -> Mapping[str, Any]:
    if labels is None:
        labels = storage.join(src, "labels.tsv")
        if src.endswith(".zip") or not storage.exists(labels, "the labels"):
            return {}
    return read_labels(labels)


def _contours(folder: Path | None, link: Path | None, studies: list[Source]) -> dict[str, Path]:
    """Each linked study's contour folder, by its bare name. The link file may name more studies than there are."""
    if folder is not None and link is not None:
        found = {bare(name): path for name, path in linked(folder, link).items()}
        matched = len(found.keys() & {bare(source.name) for source in studies})
        if not matched:
            raise UseError(f"--link: none of its {len(found)} lines names a study of SRC; columns: study name (that of"
                           " its folder or zip), contour folder")
        console.say(f"--link: {matched} of {len(found)} lines name a study of SRC")
        return found
    if folder is not None or link is not None:
        raise UseError("--contours DIR and --link CSV go together: the CSV says which study each contour folder is of")
    return {}


def linked(folder: Path, link: Path) -> dict[str, Path]:
    """Each study's contour folder below `folder`, by its name. link: CSV with a header; study, contour folder."""
    try:
        rows = list(csv.reader(link.read_text().splitlines()))[1:]
    except (OSError, UnicodeDecodeError) as e:
        raise UseError("--link: the CSV cannot be read") from e
    found = {row[0].strip(): folder.resolve() / row[1].strip() for row in rows if len(row) >= 2}
    missing = sum(not path.is_dir() for path in found.values())
    if missing or not found:
        raise UseError(f"--link: {missing} of {len(found)} lines name no folder under --contours;"
                       " columns: study name, contour folder")
    return found


def _outcomes(studies: list[Source], context: Context, progress: Progress) -> Iterator[pa.Table | Reject]:
    refused = 0
    for done, outcome in enumerate(in_order(convert, studies, context), 1):
        refused += isinstance(outcome, Reject)
        progress(done, len(studies), refused)
        yield outcome
