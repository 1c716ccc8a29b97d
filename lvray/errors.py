"""Every error that lvray raises on purpose, and the exit code each one ends a command with.

    LvrayError                1   lvray itself failed
    ├── UseError              2   wrong use, settings or data contract
    │   ├── CheckpointError   2   a checkpoint that cannot be read, or does not fit
    │   └── KeyMismatch       2   the key is not the one that the shards were made with
    ├── StudyRefused          3   a study that cannot be trusted, with a reason code
    ├── EnvironmentFault      4   store, disk or credentials
    └── Stopped             143   told to end (SIGTERM), after the work was saved

A message is one line: what, where, what to do. It names a study by its position in the listing
and its keyed hash, an image by its number, never by a path or file name.
"""

from __future__ import annotations

import traceback
from enum import StrEnum
from pathlib import Path


class Reason(StrEnum):
    """Why a study is refused. The values are stable: rejects tables and the service use them."""

    NO_DICOM = "no_dicom"
    UNREADABLE_FILE = "unreadable_file"
    UNSAFE_ARCHIVE = "unsafe_archive"
    NO_SHORT_AXIS = "no_short_axis"
    SEVERAL_PATIENTS = "several_patients"
    BAD_SPACING = "bad_spacing"
    BAD_GEOMETRY = "bad_geometry"
    MISSING_SLICE = "missing_slice"
    MISSING_PHASE = "missing_phase"
    SINGLE_SLICE = "single_slice"
    TOO_MANY_SLICES = "too_many_slices"
    NO_OUTLINES = "no_outlines"
    OUTLINES_DISAGREE = "outlines_disagree"
    MASK_MISMATCH = "mask_mismatch"
    NO_HEART = "no_heart"
    NO_MASK = "no_mask"
    TOO_LARGE = "too_large"
    GAVE_UP = "gave_up"
    INTERNAL = "internal"


class LvrayError(Exception):
    """A failure of lvray itself."""

    exit_code = 1


class UseError(LvrayError):
    """Wrong use, a bad setting, or data that breaks its contract."""

    exit_code = 2


class CheckpointError(UseError):
    """A checkpoint that is incomplete, damaged or of another network."""


class KeyMismatch(UseError):
    """The key's fingerprint is not the one in the manifest."""


class StudyRefused(LvrayError):
    """A study set aside. `reason` is the code, `detail` the line that a person reads."""

    exit_code = 3

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{detail} [{reason}]")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[StudyRefused], tuple[Reason, str]]:
        return type(self), (self.reason, self.detail)


class EnvironmentFault(LvrayError):
    """The object store, the disk or the credentials."""

    exit_code = 4


class Stopped(LvrayError):
    """A run or a search that was told to end."""

    exit_code = 143


def internal(error: Exception) -> str:
    """A line about a failure of lvray itself: the exception's type and place, never its text, which may hold ids."""
    home = Path(__file__).parent
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(home)]
    place = f" in {Path(frames[-1].filename).relative_to(home)}, line {frames[-1].lineno}" if frames else ""
    return f"lvray itself failed ({type(error).__name__}{place}): please report this line"
