"""The files of a study wherever it lies: a folder or zip on disk or in an object store."""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from lvray.cmr.archive import Member, folder_members, zip_members
from lvray.shards import storage
from lvray.shards.listing import Source

WHOLE_BYTES = 256 << 20
"""An object up to this size is fetched whole, once, and kept in memory while its study is open."""
AHEAD = 16 << 10
"""Bytes of a request, at least, where a zip is read member by member: what a DICOM header needs. Members are not read
in the zip's order, so that a larger one mostly fetches in vain."""


@dataclass(frozen=True)
class Study:
    """An open study. sha256(): of its source, in hex, which the reading of members does not need.

    Of a zip: of its bytes as they are stored, damaged or not. Of a folder: over the sorted sha256 of its files,
    whatever their names and order.
    """

    listed: Callable[[], list[Member]]
    sha256: Callable[[], str]

    @property
    def members(self) -> list[Member]:
        """Its files. StudyRefused: an unsafe or damaged zip."""
        return self.listed()


@contextmanager
def open_study(source: Source) -> Iterator[Study]:
    """A study, readable inside the `with`. EnvironmentFault: the store or the disk, here and at every reading."""
    if source.kind == "folder":
        yield _folder(source.uri)
        return
    with storage.open_file(source.uri, "the study") as file:
        if storage.is_s3(source.uri) and file.size <= WHOLE_BYTES:
            data = file.whole()
            yield Study(lambda: zip_members(pa.BufferReader(data)), lambda: hashlib.sha256(data).hexdigest())
        else:
            yield Study(lambda: zip_members(io.BufferedReader(file, AHEAD)),
                        lambda: storage.sha256(source.uri, "the study"))


def _folder(uri: str) -> Study:
    with storage.faults("list the study"):
        members = _objects(uri) if storage.is_s3(uri) else folder_members(Path(storage.absolute(uri)))
    return Study(lambda: members, lambda: _sha256(members))


def _objects(uri: str) -> list[Member]:
    found = [e for e in storage.list_tree(uri, "the study") if not e.name.rsplit("/", 1)[-1].startswith(".")]

    def fetch(name: str) -> bytes:
        return storage.read_bytes(storage.join(uri, name), "the study")

    if sum(e.size for e in found) <= WHOLE_BYTES:
        fetch = functools.cache(fetch)

    def opener(name: str) -> Callable[[], BinaryIO]:
        return lambda: io.BytesIO(fetch(name))

    return [Member(n, e.size, opener(e.name), e.name.lower().endswith(".dcm")) for n, e in enumerate(found, 1)]


def _sha256(members: Sequence[Member]) -> str:
    digests = []
    with storage.faults("read the study"):
        for member in members:
            with member.open() as file:
                digests.append(hashlib.sha256(file.read()).digest())
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()
