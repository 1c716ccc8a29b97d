"""From a zip to what a network is asked: in this process, in memory, one study at a time, within limits."""

from __future__ import annotations

import asyncio
import io
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from lvray.cmr.archive import Limits, zip_members
from lvray.cmr.study import Cine, read_cine
from lvray.errors import EnvironmentFault, Reason, StudyRefused, UseError
from lvray.estimate import View, view
from lvray.serving.problems import Problem
from lvray.settings import Serve
from lvray.shards import storage

T = TypeVar("T")


@dataclass(frozen=True)
class Study:
    """cine reads from the zip in memory as long as it lives."""

    cine: Cine
    view: View


def read(zipped: bytes, limits: Serve) -> Study:
    """StudyRefused."""
    cine = read_cine(zip_members(io.BytesIO(zipped),
                                 Limits(limits.members, limits.inflated_mb << 20, limits.ratio)))
    if math.prod(cine.shape) * cine.phases > limits.megapixels * 10**6:
        raise StudyRefused(Reason.TOO_LARGE, f"the short axis has more than {limits.megapixels} million pixels")
    return Study(cine, view(cine))


def locate(uri: str, limits: Serve) -> tuple[str, int]:
    """Where the zip at a URI lies, links resolved, and its bytes. Problem: 403 outside the prefixes, 404, 413.
    EnvironmentFault: the store is gone."""
    where = _allowed(uri, limits.uri_prefixes)
    if not storage.is_s3(where) and not os.path.isfile(where):
        raise _absent()
    with _opened(where) as file:
        if file.size > limits.body_mb << 20:
            raise Problem(413, f"the zip is larger than {limits.body_mb} MiB")
        return where, file.size


def fetch(where: str) -> bytes:
    """The zip that `locate` found. Problem: 404, gone since. EnvironmentFault."""
    with _opened(where) as file:
        return bytes(file.whole().to_pybytes())


@contextmanager
def _opened(where: str) -> Iterator[storage.File]:
    try:
        with storage.open_file(where, "the study") as file:
            yield file
    except EnvironmentFault as error:
        if isinstance(error.__cause__, FileNotFoundError | PermissionError):
            raise _absent() from None
        raise


def _absent() -> Problem:
    return Problem(404, "there is no zip at that URI, or it may not be read")


def _allowed(uri: str, prefixes: tuple[str, ...]) -> str:
    """The URI, links resolved, where it lies below one of the prefixes. Problem: 403."""
    try:
        sound = uri.lower().endswith(".zip") and uri.isprintable() and ".." not in uri.split("/")
        if sound and any(_real(uri).startswith(_real(prefix).rstrip("/") + "/") for prefix in prefixes):
            return _real(uri)
    except (UseError, ValueError, OSError):  # another scheme; what no path can hold
        pass
    raise Problem(403, "not a zip below one of the prefixes that this service may read from (uri_prefixes)",
                  "uri_not_allowed")


def _real(uri: str) -> str:
    return uri if storage.is_s3(uri) else os.path.realpath(storage.absolute(uri))


class Worker:
    """A thread, and a turn at it. A thread cannot be ended: after one that takes too long comes another, and `stuck`
    tells Ray Serve to replace the process once its other requests are answered."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._turn = asyncio.Semaphore(1)
        self._thread = ThreadPoolExecutor(1)
        self.stuck = False

    async def run(self, work: Callable[..., T], *args: object) -> T:
        """What `work` returns or raises. StudyRefused: it takes too long. A client that goes away ends no work: the
        next one has its turn when that is done."""
        await self._turn.acquire()
        found = await asyncio.shield(self._bounded(work, *args))
        if isinstance(found, Exception):
            raise found
        return found

    async def _bounded(self, work: Callable[..., T], *args: object) -> T | Exception:
        try:
            doing = asyncio.get_running_loop().run_in_executor(self._thread, _caught, work, *args)
            await asyncio.wait([doing], timeout=self._seconds)
            if doing.done():
                return doing.result()
            self.stuck, self._thread = True, ThreadPoolExecutor(1)
            return StudyRefused(Reason.GAVE_UP, f"reading it takes more than {self._seconds:g} s; is a file damaged?")
        finally:
            self._turn.release()


def _caught(work: Callable[..., T], *args: object) -> T | Exception:
    """An error as a value: asyncio would log one that nobody waits for, and its text may hold ids."""
    try:
        return work(*args)
    except Exception as error:
        return error
