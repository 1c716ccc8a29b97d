"""What a listing holds that a data set does not: the studies that a run has to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lvray.errors import EnvironmentFault, Reason, UseError
from lvray.shards.convert import Context
from lvray.shards.dataset import Dataset, rejects
from lvray.shards.identity import keyed
from lvray.shards.listing import Source, version_of
from lvray.shards.schema import Reject

RETRIED = (Reason.GAVE_UP, Reason.TOO_LARGE)
"""Refusals that another machine, or another day, may not repeat; as is any of a study whose bytes were not read."""


@dataclass(frozen=True)
class Known:
    """A study of a data set. source: keyed checksum of its bytes; participant: None for a reject."""

    source: str | None
    given: str | None
    participant: str | None
    retried: bool = False


@dataclass(frozen=True)
class Plan:
    """new: to be read. doubtful: known, but their files look otherwise than when they were read: their bytes decide.

    versions: of every study of the listing, keyed, by the study's hash. absent: how many the listing no longer has.
    """

    new: list[Source]
    doubtful: list[Source]
    versions: dict[str, str]
    absent: int


def known_studies(dataset: Dataset) -> dict[str, Known]:
    """Every row and reject of a data set by the study's hash."""
    columns = [dataset.index[name].to_pylist() for name in ("study", "source", "given", "participant")]
    rows = {study: Known(*rest) for study, *rest in zip(*columns, strict=True)}
    refused = (Reject(**line) for line in rejects(dataset).to_pylist())
    return rows | {r.study: Known(r.source, r.given, None, r.source is None or r.reason in RETRIED) for r in refused}


def plan(studies: Sequence[Source], context: Context, known: Mapping[str, Known], seen: Mapping[str, str]) -> Plan:
    """Compare a listing with a data set. seen: the keyed versions at the last run.

    UseError where the label, contours or listed split of a row have changed: its data set stands as it is.
    """
    new: list[Source] = []
    doubtful: list[Source] = []
    changed: list[Source] = []
    versions: dict[str, str] = {}
    for source in studies:
        study = keyed(context.key, "study", source.name)
        versions[study] = keyed(context.key, "version", version_now(source))
        old = known.get(study)
        if old is None or old.retried:
            new.append(source)
        elif old.given != context.given.digest(context.key, source.name, old.participant):
            (new if old.participant is None else changed).append(source)
        elif seen.get(study) != versions[study]:
            doubtful.append(source)
    _refuse(changed, "label, contours or split")
    return Plan(new, doubtful, versions, len(known.keys() - versions.keys()))


def version_now(source: Source) -> str:
    """Of a source that is not there (any more): empty; whoever opens it will say so."""
    try:
        return version_of(source)
    except EnvironmentFault as fault:
        if isinstance(fault.__cause__, FileNotFoundError):
            return ""
        raise


def settle(doubtful: Iterable[tuple[Source, str | None]], context: Context, known: Mapping[str, Known]) -> list[Source]:
    """Those to be read again: refused before, and of other bytes now. doubtful: with their keyed checksums.

    UseError where the bytes of a row have changed.
    """
    differ = [(source, known[keyed(context.key, "study", source.name)]) for source, checksum in doubtful
              if checksum != known[keyed(context.key, "study", source.name)].source]
    _refuse([source for source, old in differ if old.participant is not None], "images")
    return [source for source, _ in differ]


def _refuse(changed: Sequence[Source], what: str) -> None:
    if changed:
        raise UseError(f"{len(changed)} studies of DST have another {what} in SRC now (the first is study "
                       f"{changed[0].position}): rows are never changed; tensorize into another DST")
