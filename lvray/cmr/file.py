"""One DICOM file through pydicom, within bounds: what a file claims must not cost time and memory without end.

Sources: DICOM PS3.5, 7.1 (elements), 8.1.1 and A.4 (pixels, native and encapsulated), A.5 (deflated).
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Protocol

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from lvray.cmr.archive import Member
from lvray.cmr.header import CLASSIC_MR, EXPLICIT, UNDEFINED_LENGTH, Header, file_meta
from lvray.errors import EnvironmentFault, Reason, StudyRefused

MULTIFRAME_MR = ("1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")
"""Enhanced MR and Legacy Converted Enhanced MR. The SOP class decides: classic files can carry an empty
Per-Frame Functional Groups Sequence."""
SOP_CLASS = 0x00080016
MAX_FILE_BYTES = 256 << 20
"""Of a file whose pixels are read, inflated: a full Enhanced cine is about 50 MB."""
MAX_HEADER_BYTES, MAX_ITEMS = 16 << 20, 100_000
"""Ahead of the pixels, and behind them: pydicom makes objects of it that take some 50 times the memory."""
DEFLATED = b"1.2.840.10008.1.2.1.99"
ITEM, LAST_ITEM = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


class Facts(Protocol):
    """Attributes by keyword: a Dataset, or the values of a Header."""

    def get(self, name: str, /) -> Any: ...


def unreadable(member: Member) -> StudyRefused:
    return StudyRefused(Reason.UNREADABLE_FILE, f"image {member.number} is damaged or cut short; copy it again")


@contextmanager
def reading() -> Iterator[None]:
    """Around the reading of files. OSError, which only the disk raises through it, becomes EnvironmentFault.

    Real files break the standard in harmless ways (UID parts with leading zeros): no warning for each. What is not
    harmless is raised; pydicom's own log would add a traceback to it.
    """
    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except OSError as e:
        raise EnvironmentFault(f"the study cannot be read: {e.strerror}") from e
    finally:
        log.setLevel(level)


def up_to_pixels(f: BinaryIO, member: Member) -> Dataset | None:
    """The data set ahead of the pixels, whose element `f` is left at. None: a manifest, a note, a picture.

    Of an object that is no MR image the data set may end behind its class. StudyRefused: damaged or absurdly long.
    """
    start = f.read(MAX_HEADER_BYTES)
    if len(start) < 132 and not start[:132].strip(b"\0"):  # empty, or cut within the preamble
        raise unreadable(member)
    must_be_dicom = member.dicom_name or start[128:132] == b"DICM"
    if not must_be_dicom and start[1:2] != b"\0":  # no preamble, and no tag of a low group either
        return None
    head = io.BytesIO(start)
    try:
        ds: Dataset = read_partial(head, lambda tag, vr, length: tag > SOP_CLASS, force=True)
        if sop_class(ds) in ("", CLASSIC_MR, *MULTIFRAME_MR):
            if start.count(ITEM) > MAX_ITEMS:
                raise unreadable(member)
            head.seek(0)
            ds = pydicom.dcmread(head, stop_before_pixels=True, force=True)
            if head.tell() == MAX_HEADER_BYTES:
                raise unreadable(member)
            f.seek(head.tell())
        found = sop_class(ds) != ""
    except Exception as e:  # pydicom raises whatever the damaged bytes lead to
        if must_be_dicom:
            raise unreadable(member) from e
        return None
    if not found and must_be_dicom:
        raise unreadable(member)
    return ds if found else None


def sop_class(ds: Dataset) -> str:
    """A DICOMDIR has its class in the file meta information alone."""
    return str(ds.get("SOPClassUID") or ds.file_meta.get("MediaStorageSOPClassUID", ""))


def read(member: Member) -> bytes:
    """The whole file."""
    if member.size > MAX_FILE_BYTES:
        raise StudyRefused(Reason.TOO_LARGE, f"image {member.number} is part of a file of more than"
                                             f" {MAX_FILE_BYTES >> 20} MiB; split it up")
    with member.open() as f:
        return f.read(MAX_FILE_BYTES)


def data_set(data: bytes, member: Member) -> Dataset:
    """The whole data set, with the transfer syntax that it was read in where it names none. StudyRefused: damaged."""
    try:
        with inflated(io.BytesIO(data), member) as f:  # closed, for the data set keeps it
            ds = pydicom.dcmread(f, force=True)
        if "TransferSyntaxUID" not in ds.file_meta:
            implicit, little = ds.original_encoding
            ds.file_meta.TransferSyntaxUID = (ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
                                              if little else ExplicitVRBigEndian)
        return ds
    except Exception as e:  # pydicom raises whatever the damaged bytes lead to
        raise unreadable(member) from e


def inflated(f: BinaryIO, member: Member) -> BinaryIO:
    """The same file, or a plain one where its data set is deflated (PS3.5, A.5), which pydicom inflates to any size."""
    start = f.read(MAX_HEADER_BYTES)
    f.seek(0)
    if DEFLATED not in start:
        return f
    try:
        syntax, at = file_meta(start)
        if syntax != DEFLATED.decode():
            return f
        f.seek(at)
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        plain = inflate.decompress(f.read(MAX_FILE_BYTES), MAX_FILE_BYTES)
    except (ValueError, struct.error, zlib.error) as e:
        raise unreadable(member) from e
    if not inflate.eof:
        raise unreadable(member)
    return io.BytesIO(start[:at].replace(DEFLATED, EXPLICIT.encode().ljust(len(DEFLATED), b"\0")) + plain)


def is_complete(ds: Dataset, f: BinaryIO) -> bool:
    """Whether the pixels, whose element is at hand, are there to the last byte, and little follows them.

    (What follows is read with them.) Any error: a damaged header.
    """
    implicit, little = ds.original_encoding
    element = f.read(8 if implicit else 12)
    length = int.from_bytes(element[-4:], "little" if little else "big")
    end = _items_end(f) if length == UNDEFINED_LENGTH else _native_end(ds, f.tell(), length)
    return _ends_at(end, f.seek(0, io.SEEK_END))


def plain_is_complete(header: Header, member: Member) -> bool:
    """The same by its header alone; compressed pixels are walked."""
    if header.pixels_bytes != UNDEFINED_LENGTH:
        return _ends_at(_native_end(header.values, header.pixels_at, header.pixels_bytes), member.size)
    with member.open() as f:
        f.seek(header.pixels_at)
        return _ends_at(_items_end(f), member.size)


def _native_end(facts: Facts, at: int, length: int) -> int:
    """Where uncompressed pixels end that begin at `at` (PS3.5, 8.1.1), by the length or what the image needs."""
    bits = facts.get("Rows") * facts.get("Columns") * facts.get("BitsAllocated")
    return at + max(length, int(bits // 8 * (facts.get("NumberOfFrames") or 1)))


def _items_end(f: BinaryIO) -> int | None:
    """Where compressed pixels end whose first item is at hand (PS3.5, A.4); None where they are cut short."""
    while (item := f.read(8))[:4] == ITEM:
        f.seek(int.from_bytes(item[4:], "little"), io.SEEK_CUR)
    return f.tell() if item[:4] == LAST_ITEM and len(item) == 8 else None


def _ends_at(end: int | None, size: int) -> bool:
    return end is not None and end <= size <= end + MAX_HEADER_BYTES
