"""The files of one study: a folder or a zip, opened one at a time and never unpacked to disk.

What a zip claims is not believed: no read inflates more than the size that the directory states, and that is bounded.
Source: PKWARE's APPNOTE.TXT, 4.3 (records) and 4.4.5 (methods).
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from lvray.errors import EnvironmentFault, Reason, StudyRefused

MAX_MEMBERS = 50_000
"""Files of a study: a UK Biobank one has 1,300, a whole examination some 10,000."""
MAX_MEMBER_BYTES = 512 << 20
"""A file of a zip: a full Enhanced cine is about 50 MB."""
DIRECTORY_ENTRY_BYTES = 256
"""Of a zip's directory, which zipfile reads whole: so many a member at most, on average."""
PIECE_BYTES = 4 << 20
"""Read and inflated at once."""
SPARE_BYTES = 512
"""Deflated data that do not shrink take a little more than their size."""
LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Signature, lengths of name and extra field."""
DIRECTORY_BYTES = re.compile(rb"PK\x05\x06(?=.{8}(.{4}))|PK\x06\x06(?=.{36}(.{8}))", re.S)
"""The directory's size in its end records, plain and zip64."""


@dataclass(frozen=True)
class Limits:
    """Of a zip. members: files. study_bytes: of all of them together, inflated; a UK Biobank study is about 100 MB.
    ratio: deflate ends at 1032:1; real MR stays under 100:1, but the mask of an organ reaches 800:1 and is no bomb:
    what bounds memory is the size of a member."""

    members: int = MAX_MEMBERS
    study_bytes: int = 8 << 30
    ratio: int = 1000


DEFAULT = Limits()


@dataclass(frozen=True)
class Member:
    """One file: its number in the listing (from 1), its size in bytes and a way to open it."""

    number: int
    size: int
    open: Callable[[], BinaryIO] = field(repr=False)
    dicom_name: bool = False
    """The name ends in .dcm: such a file must be DICOM."""
    peek: Callable[[int], bytes] | None = field(default=None, repr=False)
    """A cheaper way to the first bytes than opening it."""

    def head(self, n: int) -> bytes:
        """The first n bytes, fewer where the file ends. Those of a zip are not checked against its CRC."""
        if self.peek:
            return self.peek(n)
        with self.open() as file:
            return file.read(n)


def folder_members(folder: Path) -> list[Member]:
    """Every file below `folder`, hidden ones left out, sorted by name. Opening one may raise EnvironmentFault.

    StudyRefused: more files than a study has.
    """
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    _refuse_many(paths, "folder", MAX_MEMBERS)

    def opener(number: int, path: Path) -> Callable[[], BinaryIO]:
        def open_file() -> BinaryIO:
            try:
                return path.open("rb")
            except OSError as e:
                raise EnvironmentFault(f"file {number} of the study cannot be opened: {e.strerror}") from e

        return open_file

    return [Member(n, p.stat().st_size, opener(n, p), p.suffix.lower() == ".dcm") for n, p in enumerate(paths, 1)]


def zip_members(file: BinaryIO, limits: Limits = DEFAULT) -> list[Member]:
    """Every file of a zip, sorted by name; opening one checks its CRC.

    StudyRefused: not a zip, an unsafe name, a bomb, an encrypted member, another method than deflate.
    """
    infos = sorted(_directory(file, limits), key=lambda i: i.filename)
    _refuse_many(infos, "zip", limits.members)
    if sum(i.file_size for i in infos) > limits.study_bytes:
        raise StudyRefused(Reason.UNSAFE_ARCHIVE, "the zip inflates to an absurd size")
    for number, info in enumerate(infos, 1):
        _refuse_unsafe(number, info, limits.ratio)
    shown = [i for i in infos if not PurePosixPath(i.filename).name.startswith(".")]
    return [_zip_member(file, n, i) for n, i in enumerate(shown, 1)]


def _directory(file: BinaryIO, limits: Limits) -> list[zipfile.ZipInfo]:
    """What a zip lists, its folders left out."""
    try:
        start = max(file.seek(0, io.SEEK_END) - (1 << 16) - 200, 0)  # a comment, and the end records
        file.seek(start)
        sizes = [int.from_bytes(plain or big, "little") for plain, big in DIRECTORY_BYTES.findall(file.read())]
        if any(DIRECTORY_ENTRY_BYTES * limits.members < size != 0xFFFFFFFF for size in sizes):
            raise StudyRefused(Reason.UNSAFE_ARCHIVE, "the zip lists an absurd number of files")
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, OverflowError, struct.error) as e:
        raise StudyRefused(Reason.UNREADABLE_FILE, "the zip cannot be read; copy it again") from e
    infos, at = archive.infolist(), 0
    starts = sorted((i.header_offset, i.compress_size) for i in infos)
    for start, size in (*starts, (archive.start_dir, 0)):
        if start < at:  # files that share bytes make a bomb of a small zip
            raise StudyRefused(Reason.UNSAFE_ARCHIVE, "files of the zip overlap")
        at = start + LOCAL_HEADER.size + size
    return [i for i in infos if not i.filename.endswith("/")]


def _refuse_many(files: list[Path] | list[zipfile.ZipInfo], what: str, most: int) -> None:
    if len(files) > most:
        raise StudyRefused(Reason.TOO_LARGE, f"the {what} holds more than {most} files; give one study")


def _refuse_unsafe(number: int, info: zipfile.ZipInfo, ratio: int) -> None:
    name = PurePosixPath(info.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or info.filename[1:2] == ":":
        raise StudyRefused(Reason.UNSAFE_ARCHIVE, f"member {number} of the zip points outside it; nothing was read")
    if info.file_size > MAX_MEMBER_BYTES or info.file_size > ratio * max(info.compress_size, 1024):
        raise StudyRefused(Reason.UNSAFE_ARCHIVE, f"member {number} of the zip inflates to an absurd size")
    if info.flag_bits & 1:
        raise StudyRefused(Reason.UNREADABLE_FILE, f"member {number} of the zip is encrypted; decrypt it first")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise StudyRefused(Reason.UNREADABLE_FILE, f"member {number} of the zip is not deflated; zip the study again")


def _zip_member(file: BinaryIO, number: int, info: zipfile.ZipInfo) -> Member:
    def read(wanted: int, check: bool) -> io.BytesIO:
        try:
            out = _inflate(file, info, wanted)
            if check and zlib.crc32(out.getbuffer()) != info.CRC:
                raise zipfile.BadZipFile
        except (zipfile.BadZipFile, zlib.error, struct.error, OSError) as e:
            raise StudyRefused(Reason.UNREADABLE_FILE, f"member {number} of the zip is damaged; copy it again") from e
        out.seek(0)
        return out

    return Member(number, info.file_size, lambda: read(info.file_size, True), info.filename.lower().endswith(".dcm"),
                  lambda n: read(min(n, info.file_size), False).getvalue())


def _inflate(file: BinaryIO, info: zipfile.ZipInfo, wanted: int) -> io.BytesIO:
    """The first `wanted` bytes of a member: no more are inflated, and little more is read."""
    file.seek(info.header_offset)
    signature, name, extra = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    if signature != b"PK\3\4":
        raise zipfile.BadZipFile
    file.seek(name + extra, io.SEEK_CUR)
    deflated = zlib.decompressobj(-zlib.MAX_WBITS) if info.compress_type == zipfile.ZIP_DEFLATED else None
    out, packed, left = io.BytesIO(), b"", info.compress_size
    while (missing := wanted - out.tell()) > 0:
        if not packed:
            packed = file.read(min(missing + (SPARE_BYTES if deflated else 0), PIECE_BYTES, left))
            left -= len(packed)
        if not packed:
            raise zipfile.BadZipFile
        out.write(deflated.decompress(packed, min(missing, PIECE_BYTES)) if deflated else packed)
        packed = deflated.unconsumed_tail if deflated else b""
    return out
