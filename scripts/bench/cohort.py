"""The benches' phantom biobank: participants of full size, made once and kept in a folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from lvray.cmr.phantom.participant import Participant, participant
from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write_participant, write_tables

FULL = PhantomOptions(phases=50, slices=13, rows=208, columns=168, bias=False)
"""UK Biobank's full size, and InlineVF at the true outlines, so that masks can be held against the truth."""
SEED = 4


@dataclass(frozen=True)
class Cohort:
    """Zips and labels.tsv of the participants from 0 on."""

    folder: Path
    participants: tuple[Participant, ...]

    @property
    def zips(self) -> list[Path]:
        """One a participant, in their order."""
        return [self.folder / zip_name(subject) for subject in self.participants]


def zip_name(subject: Participant) -> str:
    return f"{subject.person.eid}_20209_2_0.zip"


def make(folder: Path, studies: int, options: PhantomOptions = FULL, processes: int = 2,
         progress: Callable[[int], None] = lambda done: None) -> Cohort:
    """Write what is not there yet; a zip that is there is whole, since each is written aside.

    progress is told the number of zips that are there.
    """
    folder = folder / f"{options.phases}x{options.slices}x{options.rows}x{options.columns}-seed{SEED}"
    folder.mkdir(parents=True, exist_ok=True)
    made = Cohort(folder, tuple(participant(SEED, number, options) for number in range(studies)))
    missing = [number for number, path in enumerate(made.zips) if not path.exists()]
    if missing:
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            for done, _ in enumerate(pool.map(partial(_write, folder, options), missing), studies - len(missing) + 1):
                progress(done)
    write_tables(folder, studies, SEED, options)
    return made


def _write(folder: Path, options: PhantomOptions, number: int) -> None:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as aside:
        path = write_participant(Path(aside), SEED, number, options)
        os.replace(path, folder / path.name)
