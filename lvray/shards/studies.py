"""The files of a study wherever it lies: a folder or zip on disk or in an object store."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lvray.cmr.archive import Member, folder_members, zip_members
from lvray.shards import storage
from lvray.shards.listing import Source


@contextmanager
def open_study(source: Source) -> Iterator[list[Member]]:
    """The study's files, readable inside the `with`. A zip in an object store is fetched whole, once.

    StudyRefused: an unsafe or damaged zip. EnvironmentFault: the store or the disk.
    """
    if storage.is_s3(source.uri):
        yield _remote(source)
    elif source.kind == "folder":
        yield folder_members(_local(source.uri))
    else:
        with storage.faults("read the study"), _local(source.uri).open("rb") as file:
            yield zip_members(file)


def _remote(source: Source) -> list[Member]:
    if source.kind == "zip":
        return zip_members(io.BytesIO(storage.read_bytes(source.uri, "the study")))
    fs, path = storage.filesystem(source.uri)
    with storage.faults("list the study"):
        found = {name: info["size"] for name, info in fs.find(path, detail=True).items()}

    def opener(name: str) -> Callable[[], BinaryIO]:
        return lambda: io.BytesIO(storage.read_bytes(f"s3://{name}", "the study"))

    shown = [n for n in sorted(found) if not n.rsplit("/", 1)[-1].startswith(".")]
    return [Member(i, found[n], opener(n), n.lower().endswith(".dcm")) for i, n in enumerate(shown, 1)]


def _local(uri: str) -> Path:
    return Path(uri.removeprefix("file://")).expanduser()
