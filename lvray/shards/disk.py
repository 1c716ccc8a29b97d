"""The local half of storage: files that appear whole or not at all, and what lies in a folder."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

Data: TypeAlias = bytes | memoryview | pa.Buffer
Named: TypeAlias = tuple[str, os.stat_result]


def path_of(uri: str) -> str:
    return os.path.abspath(os.path.expanduser(uri.removeprefix("file://")))


def place(path: Path, data: Data, commit: Callable[[Path, Path], None]) -> None:
    """Write aside, then commit(aside, path); nothing is left aside whatever happens, short of a kill.

    FileNotFoundError: another process removed the folder meanwhile, twice.
    """
    try:
        _place(path, data, commit)
    except FileNotFoundError:
        _place(path, data, commit)


def _place(path: Path, data: Data, commit: Callable[[Path, Path], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with aside.open("xb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        commit(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def entries(folder: str) -> Iterator[Named]:
    """Everything directly in a folder."""
    with os.scandir(folder) as found:
        for item in found:
            with suppress(FileNotFoundError):  # removed since
                yield item.name, _stat(item.path)


def files(top: str) -> Iterator[Named]:
    """Every file below a folder, its name relative to it; of a file, itself with an empty name."""
    if not os.path.isdir(top):
        yield "", _stat(top)
    for folder, _, names in os.walk(top):
        for path in (os.path.join(folder, name) for name in names):
            yield os.path.relpath(path, top), _stat(path)


def delete_tree(folder: str) -> None:
    """What others write there meanwhile may stay."""
    try:
        while os.path.isdir(folder):
            with suppress(FileNotFoundError):  # another one removes it too
                shutil.rmtree(folder)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise


def preflight(path: str, write: bool) -> None:
    if not write:
        os.stat(path)
        return
    os.makedirs(path, exist_ok=True)
    with tempfile.TemporaryFile(dir=path) as probe:
        probe.write(b"lvray")


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return os.lstat(path)  # a link to nothing is there all the same: whoever opens it will say so
