"""URIs: a plain path, file:// or s3://. Endpoint, region and credentials come from the standard AWS variables.

fsspec reads and lists; boto3 writes to S3, where an object appears whole or not at all; pyarrow reads the hot path.
Every function raises EnvironmentFault for what the disk or the store refuses; `what` names the thing in that line.
"""

from __future__ import annotations

import base64
import errno
import functools
import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import fsspec
from botocore.exceptions import BotoCoreError, ClientError
from pyarrow import fs as arrow_fs

from lvray.errors import EnvironmentFault, UseError

ADVICE = "check AWS_ENDPOINT_URL, the bucket and the AWS credentials"


def is_s3(uri: str) -> bool:
    """Whether the URI lies in an object store. Raises UseError for a scheme that lvray does not read."""
    scheme = urlsplit(uri).scheme if "://" in uri else "file"
    if scheme not in ("file", "s3"):
        raise UseError(f"a URI of scheme {scheme!r}: lvray reads plain paths, file:// and s3://")
    return scheme == "s3"


def join(uri: str, name: str) -> str:
    return f"{uri.rstrip('/')}/{name}"


def absolute(uri: str) -> str:
    """The same place from any working directory: Ray's workers have others."""
    return uri if is_s3(uri) else _local(uri)


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The fsspec file system of a URI, and the path in it. Listings are never cached."""
    if is_s3(uri):
        fs = fsspec.filesystem("s3", endpoint_url=_endpoint(), use_listings_cache=False)
        return fs, uri.removeprefix("s3://").rstrip("/")
    return fsspec.filesystem("file"), _local(uri)


def pyarrow_filesystem(uri: str) -> tuple[arrow_fs.FileSystem, str]:
    """The same for pyarrow, whose S3 client does not look at AWS_ENDPOINT_URL by itself."""
    if is_s3(uri):
        return _arrow_s3(_endpoint(), _region()), uri.removeprefix("s3://").rstrip("/")
    return arrow_fs.LocalFileSystem(), _local(uri)


def read_bytes(uri: str, what: str) -> bytes:
    fs, path = filesystem(uri)
    with faults(f"read {what}"):
        return bytes(fs.cat_file(path))


def exists(uri: str, what: str) -> bool:
    fs, path = filesystem(uri)
    with faults(f"look for {what}"):
        return bool(fs.exists(path))


class Entry(NamedTuple):
    name: str
    folder: bool
    size: int
    """In bytes; 0 for a folder."""


def list_entries(uri: str, what: str) -> list[Entry]:
    """Everything directly under a URI, sorted by name: stores differ in their order."""
    fs, path = filesystem(uri)
    with faults(f"list {what}"):
        found = fs.ls(path, detail=True)
    return sorted({
        Entry(e["name"].rstrip("/").rsplit("/", 1)[-1], e["type"] == "directory",
              0 if e["type"] == "directory" else e["size"])
        for e in found if e["name"].rstrip("/") != path})


def write_atomic(uri: str, data: bytes, what: str) -> None:
    """Write, replacing what stands there. A reader sees the old bytes or the new ones, never a part."""
    with faults(f"write {what}"):
        if is_s3(uri):
            _put(uri, data)
        else:
            _place(Path(_local(uri)), data, os.replace)


def put_if_absent(uri: str, data: bytes, what: str) -> bool:
    """Write unless something stands there; of two writers at once exactly one gets True.

    S3: a conditional PUT (If-None-Match). Files: written aside, then hard-linked.
    """
    with faults(f"write {what}"):
        try:
            if is_s3(uri):
                _put(uri, data, IfNoneMatch="*")
            else:
                _place(Path(_local(uri)), data, os.link)
        except FileExistsError:
            return False
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 412:
                return False
            raise
    return True


def make_folder(uri: str, what: str) -> None:
    """A folder on disk; an object store needs none."""
    if not is_s3(uri):
        with faults(f"make {what}"):
            os.makedirs(_local(uri), exist_ok=True)


def preflight(uri: str, *, write: bool, what: str) -> None:
    """Fail within seconds where a URI cannot be read (something must be there) or written (a probe is)."""
    with faults(f"{'write' if write else 'read'} {what}"):
        if is_s3(uri):
            _preflight_s3(uri, write)
        elif write:
            os.makedirs(_local(uri), exist_ok=True)
            with tempfile.TemporaryFile(dir=_local(uri)) as probe:
                probe.write(b"lvray")
        else:
            os.stat(_local(uri))


@contextmanager
def faults(doing: str) -> Iterator[None]:
    """Turn the disk's and the store's errors into one line without paths: their own texts may hold file names."""
    try:
        yield
    except (OSError, BotoCoreError, ClientError) as error:
        raise EnvironmentFault(f"cannot {doing}: {_why(error)}") from error


def _why(error: Exception) -> str:
    if isinstance(error, ClientError):
        return f"the object store answers {error.response['Error'].get('Code', 'an error')}; {ADVICE}"
    if isinstance(error, BotoCoreError):
        return f"{type(error).__name__}; {ADVICE}"
    from_arrow = re.search(r"AWS Error (\w+)", str(error))
    if from_arrow:
        return f"{from_arrow[1]}; {ADVICE}"
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__


def _local(uri: str) -> str:
    return os.path.abspath(os.path.expanduser(uri.removeprefix("file://")))


def _place(path: Path, data: bytes, commit: Callable[[Path, Path], None]) -> None:
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


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _region() -> str | None:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


def _bucket_key(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _put(uri: str, data: bytes, **condition: str) -> None:
    bucket, key = _bucket_key(uri)
    digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    _boto3_s3(_endpoint(), _region(), 10).put_object(Bucket=bucket, Key=key, Body=data, ContentMD5=digest, **condition)


def _preflight_s3(uri: str, write: bool) -> None:
    bucket, key = _bucket_key(uri)
    client = _boto3_s3(_endpoint(), _region(), 1)
    if write:
        probe = f"{key.rstrip('/')}/.preflight-{secrets.token_hex(8)}".lstrip("/")
        client.put_object(Bucket=bucket, Key=probe, Body=b"lvray")
        client.delete_object(Bucket=bucket, Key=probe)
    elif not client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)["KeyCount"]:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


@functools.cache
def _boto3_s3(endpoint: str | None, region: str | None, attempts: int) -> Any:
    import boto3  # 0.2 s that a reader of files need not pay
    from botocore.config import Config

    retries = {"mode": "standard", "total_max_attempts": attempts}
    return boto3.client("s3", endpoint_url=endpoint, region_name=region,
                        config=Config(retries=retries, connect_timeout=5, read_timeout=60))


@functools.cache
def _arrow_s3(endpoint: str | None, region: str | None) -> arrow_fs.FileSystem:
    return arrow_fs.S3FileSystem(endpoint_override=endpoint, region=region, connect_timeout=5, request_timeout=60,
                                 retry_strategy=arrow_fs.AwsStandardS3RetryStrategy(max_attempts=10))
