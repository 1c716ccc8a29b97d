"""That those who are evaluated trained and chose nothing: shown by the data sets of those who did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lvray.errors import UseError
from lvray.shards.dataset import Dataset, OtherData, open_dataset, select


@dataclass(frozen=True)
class Use:
    """What people of some splits were used for. data: sha256 of their data set's manifest."""

    what: str
    data: str
    splits: tuple[str, ...]


def check(dataset: Dataset, rows: Sequence[int], uses: Sequence[Use], trained_on: Sequence[str],
          allowed: bool) -> list[str]:
    """Why the rows' figures may flatter, a sentence each; none where it is certain that they do not.

    trained_on: URIs of further data sets that something was trained on. UseError with the first, unless allowed.
    """
    found = list(_doubts(dataset, rows, uses, trained_on))
    if found and not allowed:
        raise UseError(f"{found[0]}; --allow-leakage evaluates all the same, and the report says so")
    return found


def _doubts(dataset: Dataset, rows: Sequence[int], uses: Sequence[Use], trained_on: Sequence[str]) -> Iterator[str]:
    evaluated = set(dataset.index["participant"].take(list(rows)).to_pylist())
    for use in uses:
        used = _generation(use.data, (dataset.uri, *trained_on))
        if used is None:
            yield (f"{use.what} used people of another data set, who may be among those evaluated: --trained-on URI of"
                   " that data set shows whether they are")
        elif used.manifest.key != dataset.manifest.key:
            yield (f"{use.what} used people of a data set made with another key, who may be among those evaluated:"
                   " tensorize both with one key")
        else:
            people = {used.index["participant"][int(row)].as_py() for row in select(used, use.splits)}
            both = len(people & evaluated)
            if both:
                yield f"{use.what} used {both} of the {len(evaluated)} people who are evaluated"


def _generation(checksum: str, uris: Sequence[str]) -> Dataset | None:
    """The data set of that checksum, as it stood then."""
    for uri in uris:
        try:
            return open_dataset(uri, checksum)
        except OtherData:
            continue
    return None
