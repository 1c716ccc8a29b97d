"""The manifest: what a data set consists of. Written last; a reader trusts nothing that it does not list."""

from __future__ import annotations

import json
from typing import Any

from lvray.errors import KeyMismatch, UseError
from lvray.settings import Settings, Tensorize
from lvray.shards import storage
from lvray.shards.schema import VERSION

NAME = "manifest.json"


class Part(Settings):
    """One Parquet file of the data set."""

    name: str
    rows: int
    bytes: int
    sha256: str


class Manifest(Settings):
    """Nothing here depends on time or place: the same studies, key and settings give the same bytes."""

    version: int
    code: str
    """Version of lvray that wrote it."""
    key: str
    """Fingerprint of the key that the hashes were made with."""
    studies: int
    """Studies read: rows + rejects."""
    shards: tuple[Part, ...]
    index: Part
    """Every row's place and its columns without the tensors, in the order of the shards."""
    rejects: Part
    max_shape: tuple[int, int, int]
    """The largest Z, Y and X, each on its own."""
    splits: dict[str, int]
    """Rows of each split."""
    settings: Tensorize


def to_json(manifest: Manifest) -> bytes:
    return (json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()


def from_json(data: bytes) -> Manifest:
    """UseError for another version, a damaged manifest, or one whose sums disagree."""
    try:
        found: Any = json.loads(data)
        version = found["version"]
    except (ValueError, TypeError, KeyError) as error:
        raise UseError(f"{NAME} is damaged: tensorize again") from error
    if version != VERSION:
        raise UseError(f"{NAME} has schema version {version}; this lvray reads {VERSION}: tensorize again")
    try:
        manifest = Manifest.model_validate_json(data)
    except ValueError as error:
        raise UseError(f"{NAME} is damaged: tensorize again") from error
    rows = sum(part.rows for part in manifest.shards)
    if rows != manifest.index.rows or rows != sum(manifest.splits.values()):
        raise UseError(f"{NAME} counts {rows} rows in shards, {manifest.index.rows} in the index and "
                       f"{sum(manifest.splits.values())} in splits")
    if rows + manifest.rejects.rows != manifest.studies:
        raise UseError(f"{NAME}: {manifest.studies} studies, but {rows} rows and {manifest.rejects.rows} rejects")
    return manifest


def publish(uri: str, manifest: Manifest) -> None:
    """Commit a data set whose other files are in place. Idempotent; UseError where a different one stands there."""
    data = to_json(manifest)
    if storage.put_if_absent(storage.join(uri, NAME), data, NAME):
        return
    if storage.read_bytes(storage.join(uri, NAME), NAME) != data:
        raise UseError("DST already holds another data set (its studies, settings, key or lvray version differ): "
                       "choose another DST, or remove that one")


def check_key(manifest: Manifest, fingerprint: str) -> None:
    """KeyMismatch unless the hashes were made with the key of that fingerprint."""
    if manifest.key != fingerprint:
        raise KeyMismatch(f"the data set was made with the key {manifest.key}, not with {fingerprint}: "
                          "give that key by --key FILE or LVRAY_KEY")
