"""URIs: a plain path, file:// or s3://. Endpoint, region, attempts and credentials: the standard AWS variables.

s3fs, by fsspec, lists; boto3 writes to S3, where an object appears whole or not at all; pyarrow reads, in less CPU
time than the others, and tries again even where a connection breaks in the middle of an object.
Every function raises EnvironmentFault for what the disk or the store refuses; `what` names the thing in that line.
Its `__cause__` is a FileNotFoundError where the thing is not there.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

import fsspec
import pyarrow as pa
from botocore.exceptions import BotoCoreError, ClientError
from pyarrow import fs as arrow_fs

from lvray.errors import EnvironmentFault, UseError
from lvray.shards import disk, s3
from lvray.shards.disk import Data

BLOCK = 8 << 20
"""Bytes of one request where a large object is read piece by piece."""


def is_s3(uri: str) -> bool:
    """Whether the URI lies in an object store. Raises UseError for a scheme that lvray does not read."""
    if uri.startswith("s3:") and not uri.startswith("s3://"):
        raise UseError("a URI that begins with s3: but not with s3://")
    scheme = urlsplit(uri).scheme if "://" in uri else "file"
    if scheme not in ("file", "s3"):
        raise UseError(f"a URI of scheme {scheme!r}: lvray reads plain paths, file:// and s3://")
    return scheme == "s3"


def join(uri: str, name: str) -> str:
    return f"{uri.rstrip('/')}/{name}"


def absolute(uri: str) -> str:
    """The same place from any working directory: Ray's workers have others."""
    return uri if is_s3(uri) else disk.path_of(uri)


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The fsspec file system of a URI, and the path in it."""
    if is_s3(uri):
        return s3.clients().s3fs, _s3_path(uri)
    return fsspec.filesystem("file"), disk.path_of(uri)


def pyarrow_filesystem(uri: str) -> tuple[arrow_fs.FileSystem, str]:
    """The same for pyarrow."""
    if is_s3(uri):
        return s3.clients().arrow, _s3_path(uri)
    return arrow_fs.LocalFileSystem(), disk.path_of(uri)


class File(io.RawIOBase):
    """A file or object to read, seekable; each read of an object is a request. size: in bytes.

    Reading raises EnvironmentFault rather than OSError: zipfile and pydicom cannot take it for a damaged file.
    """

    def __init__(self, source: pa.NativeFile, what: str) -> None:
        self._source, self._what, self._at = source, what, 0
        self.size: int = source.size()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        to = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        if to < 0:
            raise ValueError("a place ahead of the file's beginning")
        self._at = to
        return to

    def readinto(self, buffer: Any) -> int:
        with faults(f"read {self._what}"):
            self._source.seek(min(self._at, self.size))
            got: int = self._source.readinto(buffer)
        self._at += got
        return got

    def whole(self) -> pa.Buffer:
        """All of it in one request, copied nowhere."""
        with faults(f"read {self._what}"):
            self._source.seek(0)
            return self._source.read_buffer(self.size)


@contextmanager
def open_file(uri: str, what: str) -> Iterator[File]:
    fs, path = pyarrow_filesystem(uri)
    with faults(f"read {what}"):
        source = fs.open_input_file(path)
    with source:
        yield File(source, what)


def read_bytes(uri: str, what: str) -> bytes:
    with open_file(uri, what) as file:
        return bytes(file.whole().to_pybytes())


def sha256(uri: str, what: str) -> str:
    """Of a file's or object's bytes, in hex. Holds one BLOCK in memory."""
    with open_file(uri, what) as file:
        return hashlib.file_digest(io.BufferedReader(file, BLOCK), "sha256").hexdigest()


def exists(uri: str, what: str) -> bool:
    fs, path = filesystem(uri)
    with faults(f"look for {what}"):
        return bool(fs.exists(path))


class Entry(NamedTuple):
    name: str
    folder: bool
    size: int
    """In bytes; 0 for a folder."""
    version: str
    """Changes when the content does: an object's ETag, a file's time of modification; empty for a folder."""


def list_entries(uri: str, what: str, *, missing_ok: bool = False) -> list[Entry]:
    """Everything directly under a URI, sorted by name: stores differ in their order."""
    with faults(f"list {what}"):
        try:
            if is_s3(uri):
                return sorted(e for e in _s3_entries(uri, s3.clients().s3fs.ls(_s3_path(uri), detail=True)) if e.name)
            return sorted(_entry(*found) for found in disk.entries(disk.path_of(uri)))
        except FileNotFoundError:
            if missing_ok:
                return []
            raise


def list_tree(uri: str, what: str) -> list[Entry]:
    """Every file below a URI, sorted by name, which is relative to the URI; empty for a file at the URI itself."""
    with faults(f"list {what}"):
        if is_s3(uri):
            found = _s3_entries(uri, s3.clients().s3fs.find(_s3_path(uri), detail=True).values())
        else:
            found = (_entry(*found) for found in disk.files(disk.path_of(uri)))
        return sorted(found) or _missing()


def tree_version(uri: str) -> str:
    """A digest that changes when a file below the URI (or at it) comes, goes or changes. Reads none of them."""
    return hashlib.sha256(json.dumps(list_tree(uri, "a study")).encode()).hexdigest()


def write_atomic(uri: str, data: Data, what: str) -> None:
    """Write, replacing what stands there. A reader sees the old bytes or the new ones, never a part."""
    with faults(f"write {what}"):
        if is_s3(uri):
            s3.put(uri, data)
        else:
            disk.place(Path(disk.path_of(uri)), data, os.replace)


def write_checked(uri: str, data: Data, what: str) -> None:
    """The same, and read back: EnvironmentFault where other bytes come back. A file is not replaced then."""
    wanted = hashlib.sha256(data).hexdigest()

    def check(written: str) -> None:
        if sha256(written, what) != wanted:
            raise EnvironmentFault(f"cannot write {what}: other bytes come back than were written; check the disk or"
                                   " the object store")

    def commit(aside: Path, path: Path) -> None:
        check(str(aside))
        os.replace(aside, path)

    with faults(f"write {what}"):
        if is_s3(uri):
            s3.put(uri, data)
            check(uri)
        else:
            disk.place(Path(disk.path_of(uri)), data, commit)


def put_if_absent(uri: str, data: Data, what: str) -> bool:
    """Write unless something stands there; of two writers at once exactly one gets True.

    S3: a conditional PUT (If-None-Match), which also gives False where it wrote, lost the answer and tried again: the
    bytes that stand there tell. Files: written aside, then hard-linked.
    """
    with faults(f"write {what}"):
        try:
            if is_s3(uri):
                s3.put(uri, data, IfNoneMatch="*")
            else:
                disk.place(Path(disk.path_of(uri)), data, os.link)
        except FileExistsError:
            return False
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status == 409:  # a conflict while another one writes: AWS says to ask again
                return put_if_absent(uri, data, what)
            if status != 412:
                raise
            return False
    return True


def make_folder(uri: str, what: str) -> None:
    """A folder on disk; an object store needs none."""
    if not is_s3(uri):
        with faults(f"make {what}"):
            os.makedirs(disk.path_of(uri), exist_ok=True)


def delete(uri: str, what: str) -> None:
    """Remove one file or object; nothing where there is none."""
    with faults(f"remove {what}"):
        if is_s3(uri):
            s3.delete(uri)
        else:
            Path(disk.path_of(uri)).unlink(missing_ok=True)


def delete_tree(uri: str, what: str) -> None:
    """Remove a folder and all below it, or every object under a prefix; nothing where there is none.

    ValueError: a whole bucket or disk.
    """
    if not (s3.bucket_and_key(uri)[1] if is_s3(uri) else disk.path_of(uri)).strip("/"):
        raise ValueError("a whole bucket or disk is not to be deleted")
    with faults(f"remove {what}"):
        if is_s3(uri):
            s3.delete_tree(uri)
        else:
            disk.delete_tree(disk.path_of(uri))


def preflight(uri: str, *, write: bool, what: str) -> None:
    """Fail within seconds where a URI cannot be read (something must be there) or written (a probe is)."""
    with faults(f"{'write' if write else 'read'} {what}"):
        if is_s3(uri):
            s3.preflight(uri, write)
        else:
            disk.preflight(disk.path_of(uri), write)


@contextmanager
def faults(doing: str) -> Iterator[None]:
    """Turn the disk's and the store's errors into one line without paths: their own texts may hold file names."""
    try:
        yield
    except (OSError, BotoCoreError, ClientError) as error:
        raise EnvironmentFault(f"cannot {doing}: {s3.why(error) or _from_disk(error)}") from error


def _from_disk(error: Exception) -> str:
    number = errno.ENOENT if isinstance(error, FileNotFoundError) else getattr(error, "errno", None)
    return os.strerror(number) if number else type(error).__name__


def _s3_path(uri: str) -> str:
    return uri.removeprefix("s3://").rstrip("/")


def _entry(name: str, found: os.stat_result) -> Entry:
    folder = stat.S_ISDIR(found.st_mode)
    version = f"{found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
    return Entry(name, folder, 0 if folder else found.st_size, "" if folder else version)


def _s3_entries(uri: str, found: Iterable[dict[str, Any]]) -> Iterator[Entry]:
    """Names relative to the URI. Objects called `folder/`, with which some tools mark a folder, are left out."""
    path = _s3_path(uri)
    for item in found:
        name = item["name"].removeprefix(path).lstrip("/")
        if item["type"] == "directory":
            yield Entry(name.rstrip("/"), True, 0, "")
        elif not item["name"].endswith("/"):
            yield Entry(name, False, item["size"], item["ETag"].strip('"'))


def _missing() -> NoReturn:
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
