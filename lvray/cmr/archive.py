"""The files of one study: a folder or a zip, opened one at a time and never unpacked to disk."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from lvray.errors import EnvironmentFault, Reason, StudyRefused

MAX_MEMBER_BYTES = 2 << 30
"""A single DICOM file beyond 2 GiB is refused: a full Enhanced cine is about 50 MB."""
MAX_STUDY_BYTES = 8 << 30
"""All files of a study together: a UK Biobank one is about 100 MB."""
MAX_RATIO = 1000
"""Deflate cannot do much better than 1000:1 on anything but a bomb."""


@dataclass(frozen=True)
class Member:
    """One file: its number in the listing (from 1), its size in bytes and a way to open it."""

    number: int
    size: int
    open: Callable[[], BinaryIO] = field(repr=False)
    dicom_name: bool = False
    """The name ends in .dcm: such a file must be DICOM."""


def folder_members(folder: Path) -> list[Member]:
    """Every file below `folder`, hidden ones left out, sorted by name. Opening one may raise EnvironmentFault."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))

    def opener(number: int, path: Path) -> Callable[[], BinaryIO]:
        def open_file() -> BinaryIO:
            try:
                return path.open("rb")
            except OSError as e:
                raise EnvironmentFault(f"file {number} of the study cannot be opened: {e.strerror}") from e

        return open_file

    return [Member(n, p.stat().st_size, opener(n, p), p.suffix.lower() == ".dcm") for n, p in enumerate(paths, 1)]


def zip_members(file: BinaryIO) -> list[Member]:
    """Every file of a zip, sorted by name. StudyRefused: not a zip, an unsafe name, a bomb, an encrypted member."""
    try:
        archive = zipfile.ZipFile(file)
        infos = sorted((i for i in archive.infolist() if not i.is_dir()), key=lambda i: i.filename)
    except (zipfile.BadZipFile, OSError, NotImplementedError, UnicodeDecodeError, ValueError) as e:
        raise StudyRefused(Reason.UNREADABLE_FILE, "the zip cannot be read; copy it again") from e
    if sum(i.file_size for i in infos) > MAX_STUDY_BYTES:
        raise StudyRefused(Reason.UNSAFE_ARCHIVE, "the zip inflates to an absurd size")
    for number, info in enumerate(infos, 1):
        name = PurePosixPath(info.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or info.filename[1:2] == ":":
            raise StudyRefused(Reason.UNSAFE_ARCHIVE, f"member {number} of the zip points outside it; nothing was read")
        if info.file_size > MAX_MEMBER_BYTES or info.file_size > MAX_RATIO * max(info.compress_size, 1024):
            raise StudyRefused(Reason.UNSAFE_ARCHIVE, f"member {number} of the zip inflates to an absurd size")
        if info.flag_bits & 1:
            raise StudyRefused(Reason.UNREADABLE_FILE, f"member {number} of the zip is encrypted; decrypt it first")

    def opener(number: int, info: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
        def read() -> BinaryIO:
            try:
                return io.BytesIO(archive.read(info))
            except Exception as e:  # zipfile lets zlib, struct and CRC errors of a damaged member through
                detail = f"member {number} of the zip is damaged; copy it again"
                raise StudyRefused(Reason.UNREADABLE_FILE, detail) from e

        return read

    shown = [i for i in infos if not PurePosixPath(i.filename).name.startswith(".")]
    return [Member(n, i.file_size, opener(n, i), i.filename.lower().endswith(".dcm")) for n, i in enumerate(shown, 1)]
