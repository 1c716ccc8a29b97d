"""That those who are evaluated trained and chose nothing: shown by the data sets of those who did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from lvray.shards.dataset import Dataset, OtherData, open_dataset, select


@dataclass(frozen=True)
class Use:
    """What people of some splits were used for. data: sha256 of their data set's manifest."""

    what: str
    data: str
    splits: tuple[str, ...]


def doubts(dataset: Dataset, rows: Sequence[int], uses: Sequence[Use], trained_on: Sequence[str]) -> list[str]:
    """Why figures of these rows may flatter, a sentence each; none where it is certain that they do not.

    trained_on: URIs of further data sets that something was trained on. People are known by their hash, and by the
    bytes of their studies.
    """
    return list(_doubts(dataset, rows, uses, trained_on))


def _doubts(dataset: Dataset, rows: Sequence[int], uses: Sequence[Use], trained_on: Sequence[str]) -> Iterator[str]:
    evaluated = _people(dataset, rows)
    sources = set(dataset.index["source"].take(pa.array(rows, pa.int64())).to_pylist())
    for use in uses:
        used = _generation(use.data, (dataset.uri, *trained_on))
        if used is None:
            yield (f"{use.what} used people of another data set, who may be among those evaluated: --trained-on URI of"
                   " that data set shows whether they are")
        elif used.manifest.key != dataset.manifest.key:
            yield (f"{use.what} used people of a data set made with another key, who may be among those evaluated:"
                   " tensorize both with one key")
        else:
            theirs = select(used, use.splits).tolist()
            both = len(_people(used, theirs) & evaluated)
            copies = len(sources & set(used.index["source"].take(pa.array(theirs, pa.int64())).to_pylist()))
            if both or copies:
                yield (f"{use.what} used {both} of the {len(evaluated)} people who are evaluated, and {copies} of their"
                       " studies byte for byte")


def _people(dataset: Dataset, rows: Sequence[int]) -> set[str]:
    return set(dataset.index["participant"].take(pa.array(rows, pa.int64())).to_pylist())


def _generation(checksum: str, uris: Sequence[str]) -> Dataset | None:
    """The data set of that checksum, as it stood then."""
    for uri in uris:
        try:
            return open_dataset(uri, checksum)
        except OtherData:
            continue
    return None
