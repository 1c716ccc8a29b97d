"""Small folders (checkpoints) between the local disk and a URI."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lvray.shards import storage


@contextmanager
def local(uri: str, what: str) -> Iterator[Path]:
    """The folder at a URI as a local one, for as long as the `with` lasts; fetched where it lies in an object store."""
    if not storage.is_s3(uri):
        yield Path(uri.removeprefix("file://")).expanduser()
        return
    with tempfile.TemporaryDirectory() as folder:
        for entry in storage.list_entries(uri, what):
            if not entry.folder:
                (Path(folder) / entry.name).write_bytes(storage.read_bytes(storage.join(uri, entry.name), what))
        yield Path(folder)


@contextmanager
def made(uri: str, what: str) -> Iterator[Path]:
    """A local folder to write into, which stands at the URI once the `with` has ended."""
    if not storage.is_s3(uri):
        yield Path(storage.absolute(uri))
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
        for file in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            storage.write_atomic(storage.join(uri, file.relative_to(folder).as_posix()), file.read_bytes(), what)


def publish(folder: Path, uri: str, last: str, what: str) -> None:
    """Copy the files of a folder to a URI; the one named `last`, which commits them, goes last."""
    names = sorted((p.name for p in folder.iterdir()), key=lambda name: (name == last, name))
    for name in names:
        storage.write_atomic(storage.join(uri, name), (folder / name).read_bytes(), what)
