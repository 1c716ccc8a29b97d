"""The phantom cohort, a Ray task a participant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write_participant, write_tables
from lvray.errors import EnvironmentFault, UseError
from lvray.jobs.in_order import in_order


def make(out: Path, participants: int, seed: int, options: PhantomOptions,
         progress: Callable[[int, int], None]) -> None:
    """Write the zips, labels.tsv and truth.tsv into a folder, made if need be; Ray must be running.

    UseError: the folder holds zips of another cohort. EnvironmentFault: it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.glob("*.zip")):
            raise UseError("the folder holds zips already: choose an empty one")
        for done, _ in enumerate(in_order(_one, range(participants), (out.resolve(), seed, options)), 1):
            progress(done, participants)
        write_tables(out, participants, seed, options)
    except OSError as e:
        raise EnvironmentFault(f"cannot write the phantoms: {e.strerror}") from e


def _one(number: int, shared: tuple[Path, int, PhantomOptions]) -> None:
    out, seed, options = shared
    try:
        write_participant(out, seed, number, options)
    except OSError as e:
        raise EnvironmentFault(f"cannot write the phantoms: {e.strerror}") from e
