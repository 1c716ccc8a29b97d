"""The manifest: what a data set consists of. Written last; a reader trusts nothing that it does not list.

A data set grows by generations: manifest-00001.json, manifest-00002.json, each a conditional put, each listing every
shard of the one before and what was added. The last one counts; an earlier one stays readable.
"""

from __future__ import annotations

import json
import re
from typing import Any

from lvray.errors import KeyMismatch, UseError
from lvray.settings import Settings, Tensorize
from lvray.shards import storage
from lvray.shards.schema import VERSION

NAME = re.compile(r"manifest-(\d{5})\.json")


class Part(Settings):
    """One Parquet file of the data set."""

    name: str
    rows: int
    bytes: int
    sha256: str


class Manifest(Settings):
    """Nothing here depends on time or place: the same studies, key and settings give the same bytes."""

    version: int
    generation: int
    """From 1."""
    code: str
    """Version of lvray that wrote it."""
    key: str
    """Fingerprint of the key that the hashes were made with."""
    studies: int
    """Studies read: rows + rejects."""
    shards: tuple[Part, ...]
    """Those of the generation before first, in its order: a row keeps its number."""
    index: Part
    """Every row's place and its columns without the tensors, in the order of the shards."""
    rejects: Part
    max_shape: tuple[int, int, int]
    """The largest Z, Y and X, each on its own."""
    splits: dict[str, int]
    """Rows of each split."""
    settings: Tensorize


def name(generation: int) -> str:
    return f"manifest-{generation:05d}.json"


def generations(uri: str) -> list[int]:
    """The generations that stand at a URI, ascending; none where there is no data set."""
    found = (NAME.fullmatch(entry.name) for entry in storage.list_entries(uri, "the data set", missing_ok=True))
    return sorted(int(match[1]) for match in found if match)


def read(uri: str, generation: int) -> tuple[Manifest, bytes]:
    """A manifest and its bytes. UseError as `from_json`."""
    data = storage.read_bytes(storage.join(uri, name(generation)), name(generation))
    return from_json(data, name(generation)), data


def to_json(manifest: Manifest) -> bytes:
    return (json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()


def from_json(data: bytes, called: str) -> Manifest:
    """UseError for another version, a damaged manifest, or one whose sums disagree. called: its file name."""
    try:
        found: Any = json.loads(data)
        version = found["version"]
    except (ValueError, TypeError, KeyError) as error:
        raise UseError(f"{called} is damaged: tensorize into another DST") from error
    if version != VERSION:
        raise UseError(f"{called} has schema version {version}; this lvray reads {VERSION}: tensorize anew")
    try:
        manifest = Manifest.model_validate_json(data)
    except ValueError as error:
        raise UseError(f"{called} is damaged: tensorize into another DST") from error
    rows = sum(part.rows for part in manifest.shards)
    if rows != manifest.index.rows or rows != sum(manifest.splits.values()):
        raise UseError(f"{called} counts {rows} rows in shards, {manifest.index.rows} in the index and "
                       f"{sum(manifest.splits.values())} in splits")
    if rows + manifest.rejects.rows != manifest.studies:
        raise UseError(f"{called}: {manifest.studies} studies, but {rows} rows and {manifest.rejects.rows} rejects")
    return manifest


def publish(uri: str, manifest: Manifest) -> bool:
    """Commit a generation whose other files are in place. False: a different one of that number stands there."""
    data = to_json(manifest)
    where = storage.join(uri, name(manifest.generation))
    called = name(manifest.generation)
    return storage.put_if_absent(where, data, called) or storage.read_bytes(where, called) == data


def check_key(manifest: Manifest, fingerprint: str) -> None:
    """KeyMismatch unless the hashes were made with the key of that fingerprint."""
    if manifest.key != fingerprint:
        raise KeyMismatch(f"the data set was made with the key {manifest.key}, not with {fingerprint}: "
                          "give that key by --key FILE or LVRAY_KEY")


def check_made_alike(manifest: Manifest, settings: Tensorize, code: str) -> None:
    """UseError unless rows made now would be like those that stand there."""
    if manifest.code != code:
        raise UseError(f"DST was made by lvray {manifest.code}, this is {code}: choose another DST")
    one, other = (s.model_dump(exclude={"study_seconds", "shard_mb"}) for s in (manifest.settings, settings))
    differing = sorted(_differing(one, other))
    if differing:
        raise UseError(f"DST was made with another {', '.join(differing)}: give the same settings, or another DST")


def _differing(one: dict[str, Any], other: dict[str, Any], prefix: str = "") -> list[str]:
    return [found for key, value in one.items() if value != other[key]
            for found in (_differing(value, other[key], f"{prefix}{key}.") if isinstance(value, dict)
                          else [prefix + key])]
