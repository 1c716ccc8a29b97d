"""The checkpoints of a run: `<run>/checkpoints/EEEEE-SSSSSS/`, named by the position (epoch, step), both from 0, that
training goes on from; of one whose validation is owed, by the end of the epoch before.

Its checksums.json is written last and removed first: a folder without one is unfinished, and nobody reads it. A name
stands for one state of the run, so none that is finished is written anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from lvray.errors import CheckpointError
from lvray.nets.checkpoint import CHECKSUMS, Checkpoint, from_files, to_files
from lvray.shards import storage
from lvray.shards.patience import patiently

FOLDER, BEST = "checkpoints", "best"
NAME = re.compile(r"\d{5}-\d{6}")


def name(epoch: int, step: int) -> str:
    return f"{epoch:05d}-{step:06d}"


def position(called: str) -> tuple[int, int]:
    epoch, step = called.split("-")
    return int(epoch), int(step)


def where(run: str, called: str) -> str:
    """URI of a checkpoint of a run."""
    return storage.join(storage.join(run, FOLDER), called)


def names(run: str) -> list[str]:
    """The finished checkpoints of a run, the latest last."""
    return [called for called in _folders(run) if _finished(where(run, called))]


def _folders(run: str) -> list[str]:
    """Checkpoints, finished or not, the latest last."""
    found = patiently(partial(storage.list_entries, storage.join(run, FOLDER), "the run's checkpoints",
                              missing_ok=True))
    return sorted(entry.name for entry in found if entry.folder and NAME.fullmatch(entry.name))


def _finished(uri: str) -> bool:
    return patiently(partial(storage.exists, storage.join(uri, CHECKSUMS), "a checkpoint"))


def read(uri: str) -> Checkpoint:
    """The checkpoint at a URI. CheckpointError, EnvironmentFault."""
    return from_files(lambda file: patiently(partial(storage.read_bytes, storage.join(uri, file), "the checkpoint")))


def latest(run: str, notice: Callable[[str], None]) -> tuple[str, Checkpoint] | None:
    """Name of the last checkpoint of a run that is whole, and what it holds; None where there is none yet. notice: told
    of each damaged one.

    CheckpointError: there are some, and none is whole.
    """
    standing = names(run)
    for called in reversed(standing):
        try:
            return called, read(where(run, called))
        except CheckpointError as error:
            notice(f"checkpoint {called} cannot be used, and is passed over: {error}")
    if standing:
        raise CheckpointError(f"none of the run's {len(standing)} checkpoints is whole: begin anew with another --run")
    return None


def sweep(run: str, last: str | None) -> None:
    """Remove what a run that goes on from its checkpoint `last` will not use: later ones, and unfinished ones."""
    for called in _folders(run):
        if last is None or called > last or not _finished(where(run, called)):
            _remove(where(run, called))


def _remove(uri: str) -> None:
    """Half of it left is an unfinished one, not a damaged one."""
    patiently(partial(storage.delete, storage.join(uri, CHECKSUMS), "a checkpoint"))
    patiently(partial(storage.delete_tree, uri, "a checkpoint"))


def write(uri: str, files: Mapping[str, bytes]) -> None:
    """Write, or write anew, the files of a checkpoint (`to_files`) at a URI. EnvironmentFault."""
    _remove(uri)
    for file in sorted(files, key=lambda file: file == CHECKSUMS):
        patiently(partial(storage.write_atomic, storage.join(uri, file), files[file], "the checkpoint"))


def copy(uri: str, to: str) -> None:
    """The checkpoint at a URI, byte for byte, at another. CheckpointError: it is not whole."""
    write(to, to_files(read(uri)))


def retain(run: str, keep: int, best: str | None) -> None:
    """Remove all but the latest `keep` checkpoints and the best one."""
    for called in names(run)[:-keep]:
        if called != best:
            _remove(where(run, called))


class Saver:
    """Writes a run's checkpoints on a thread beside training. A fault of the writing is raised by the next call."""

    def __init__(self, run: str, keep: int) -> None:
        self.run, self.keep = run, keep
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[None] | None = None

    @property
    def busy(self) -> bool:
        return self._pending is not None and not self._pending.done()

    def start(self, called: str, checkpoint: Checkpoint, best: str | None) -> None:
        """Begin to write, after the one before it is written."""
        self.wait()
        self._pending = self._pool.submit(self._save, called, checkpoint, best)

    def committed(self) -> bool:
        """Whether what was begun has come to its end since the last call. Raises the fault that it ended in."""
        if self._pending is None or self.busy:
            return False
        self.wait()
        return True

    def wait(self) -> None:
        """Until what was begun is committed."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def _save(self, called: str, checkpoint: Checkpoint, best: str | None) -> None:
        write(where(self.run, called), to_files(checkpoint))
        retain(self.run, self.keep, best)
