"""Headers of plain MR images, read fast. What is in any way unusual is left to pydicom, which alone may refuse a file.

Why: pydicom takes 0.9 ms to read a header and hand out the attributes of a Frame, and a study has 1,300 of them. Here
the elements are walked and only what is wanted becomes a Python value. Where this module answers, pydicom would give
the same values.

Source: DICOM PS3.5, 6.2 (values), 7.1 (elements), 7.5 (sequences); PS3.10, 7.1 (file meta information).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword

CLASSIC_MR = "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
ENCAPSULATED = ("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5")
"""JPEG, JPEG-LS and JPEG 2000; RLE. All are explicit VR little endian but for their pixels."""
HEAD_BYTES, MAX_HEAD_BYTES = 4 << 10, 1 << 20
"""A plain header fits into 4 KB; one with a vendor's private elements takes some tens of KB."""
MAX_TEXT = 1024
"""Characters; the standard allows 64 or so."""
DEEPEST = 8
"""Sequences within sequences."""
UNDEFINED_LENGTH = 0xFFFFFFFF
GROUP_LENGTH, SYNTAX, CHARSET = 0x00020000, 0x00020010, 0x00080005
PIXEL_GROUP, PIXELS = 0x7FE00000, 0x7FE00010
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""VRs whose length has 32 bits."""
ASCII_CHARSETS = (b"", b"ISO_IR 6", b"ISO_IR 100", b"ISO_IR 101", b"ISO_IR 144", b"ISO_IR 192")
"""Of SpecificCharacterSet: an ASCII byte is an ASCII character."""
EXPLICIT_ELEMENT, IMPLICIT_ELEMENT, LENGTH = (struct.Struct(f) for f in ("<HH2sH", "<HHI", "<I"))
BINARY = {"US": struct.Struct("<H"), "UL": struct.Struct("<I"), "FD": struct.Struct("<d")}
NAMES = """
    SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID SeriesNumber SeriesDescription
    InstanceNumber
    AcquisitionDateTime AcquisitionDate AcquisitionTime ContentTime FrameAcquisitionDateTime
    PatientID PatientName PatientBirthDate PatientSex PatientSize PatientWeight QualityControlImage
    ImagePositionPatient ImageOrientationPatient PixelSpacing TemporalPositionIndex TemporalPositionIdentifier
    TriggerTime NominalCardiacTriggerDelayTime NominalInterval RRIntervalTimeNominal
    Rows Columns NumberOfFrames SamplesPerPixel PhotometricInterpretation
    BitsAllocated BitsStored PixelRepresentation RescaleSlope RescaleIntercept"""


class Wanted(NamedTuple):
    name: str
    vrs: tuple[bytes, ...]
    values: int


def _by_tag(names: str) -> dict[int, Wanted]:
    tags = {tag_for_keyword(name): name for name in names.split()}
    return {tag: Wanted(name, (dictionary_VR(tag).encode(),), int(dictionary_VM(tag)))
            for tag, name in tags.items() if tag is not None}


WANTED = _by_tag(NAMES) | {
    0x60000015: Wanted("NumberOfFramesInOverlay", (b"IS",), 1), 0x60000051: Wanted("ImageFrameOrigin", (b"US",), 1),
    0x60003000: Wanted("OverlayData", (b"OB", b"OW"), 1)}
"""What a Frame and its pixels are made of."""


@dataclass(frozen=True)
class Header:
    """What a classic MR image says of itself, and where its pixels are.

    values: by keyword; absent where the element is absent or empty. Several values are a tuple.
    pixels_at, pixels_bytes: first byte of the pixel element's value, and its length: UNDEFINED_LENGTH where the pixels
    are compressed, in items.
    """

    values: dict[str, Any]
    pixels_at: int
    pixels_bytes: int

    def get(self, name: str) -> Any:
        return self.values.get(name)


class _Unusual(ValueError):
    """pydicom's turn."""


def read_header(head: Callable[[int], bytes]) -> Header | None:
    """Of the file whose first n bytes are head(n). None: let pydicom read it."""
    n = HEAD_BYTES
    while True:
        data = head(n)
        try:
            return parse(data)
        except ValueError:
            return None
        except struct.error:
            if len(data) < n or n >= MAX_HEAD_BYTES:
                return None
        n *= 4


def parse(data: bytes) -> Header:
    """The header that these bytes begin with. ValueError: let pydicom read it. struct.error: it goes on behind them."""
    syntax, at = file_meta(data)
    if syntax not in (IMPLICIT, EXPLICIT) and not syntax.startswith(ENCAPSULATED):
        raise _Unusual
    if syntax == IMPLICIT and data[at + 4:at + 6].isalpha() and data[at + 4:at + 6].isupper():  # is that a VR?
        raise _Unusual
    raw, at, length = _until_pixels(data, at, syntax == IMPLICIT)
    if (length == UNDEFINED_LENGTH) != syntax.startswith(ENCAPSULATED):
        raise _Unusual
    values = {wanted.name: _value(value, wanted) for wanted, value in raw.items() if value}
    if values.get("SOPClassUID") != CLASSIC_MR or not values.keys() >= {"Rows", "Columns", "BitsAllocated"}:
        raise _Unusual
    return Header(values, at, length)


def file_meta(data: bytes) -> tuple[str, int]:
    """The transfer syntax of a file, and where its data set begins. Errors: as parse."""
    if data[128:132] != b"DICM":
        raise _Unusual
    syntax, end = b"", 132
    elements = _elements(data, end, implicit=False)
    while data[end:end + 2] == b"\2\0":
        tag, vr, at, length = next(elements)
        if (end == 132 and (tag, vr, length) != (GROUP_LENGTH, b"UL", 4)) or (tag == SYNTAX and vr != b"UI"):
            raise _Unusual
        if tag == SYNTAX:
            syntax = data[at:at + length]
        end = at + length
    return _text(syntax), end


def _until_pixels(data: bytes, at: int, implicit: bool) -> tuple[dict[Wanted, bytes], int, int]:
    """The wanted elements of a data set; first byte and length of the pixel element's value."""
    raw: dict[Wanted, bytes] = {}
    for tag, vr, start, length in _elements(data, at, implicit, after=0x0007FFFF):
        if tag > PIXEL_GROUP:
            if tag == PIXELS and vr in (b"", b"OB", b"OW"):
                return raw, start, length
            break
        wanted = WANTED.get(tag)
        if wanted:
            if vr and vr not in wanted.vrs:
                break
            raw[wanted] = data[start:start + length]
    raise _Unusual


def _elements(data: bytes, at: int, implicit: bool, after: int = -1, end: int | None = None,
              depth: int = 0) -> Iterator[tuple[int, bytes, int, int]]:
    """Tag, VR (b"" if implicit), first byte and length of the value, of each element from `at` to `end`.

    Tags rise, from beyond `after`. The length of a sequence is always the true one, that of pixels may be undefined.
    """
    while end is None or at < end:
        if implicit:
            vr = b""
            group, element, length = IMPLICIT_ELEMENT.unpack_from(data, at)
            at += 8
        else:
            group, element, vr, length = EXPLICIT_ELEMENT.unpack_from(data, at)
            at += 8
            if vr in LONG:
                length, = LENGTH.unpack_from(data, at)
                at += 4
            elif vr not in SHORT and group != 0xFFFE:
                raise _Unusual
        tag = group << 16 | element
        if tag <= after:
            raise _Unusual
        if length == UNDEFINED_LENGTH:
            if tag != PIXELS or depth:
                length = _sequence_end(data, at, implicit, tag, vr, depth + 1) - at
        elif length % 2 or (tag == CHARSET and not _is_ascii(vr, data[at:at + length])):
            raise _Unusual
        yield tag, vr, at, length
        at, after = at + length, tag
    if at != end:
        raise _Unusual


def _sequence_end(data: bytes, at: int, implicit: bool, tag: int, vr: bytes, depth: int) -> int:
    """The first byte behind a sequence of undefined length whose first item begins at `at`."""
    if depth > DEEPEST or (vr != b"SQ" and not (implicit and _is_sequence(tag, data, at))):
        raise _Unusual
    while True:
        group, element, length = IMPLICIT_ELEMENT.unpack_from(data, at)
        at += 8
        if (group << 16 | element, length) == (SEQUENCE_END, 0):
            return at
        if group << 16 | element != ITEM:
            raise _Unusual
        end = None if length == UNDEFINED_LENGTH else at + length
        for inner, _, start, size in _elements(data, at, implicit, end=end, depth=depth):
            at = start + size
            if inner >= ITEM:
                if (inner, size, end) != (ITEM_END, 0, None):
                    raise _Unusual
                break


def _is_ascii(vr: bytes, charset: bytes) -> bool:
    return vr in (b"", b"CS") and charset.rstrip(b" \0") in ASCII_CHARSETS


def _is_sequence(tag: int, data: bytes, at: int) -> bool:
    """Whether an implicit element of undefined length is a sequence: by the dictionary, else by how it begins."""
    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:
        return IMPLICIT_ELEMENT.unpack_from(data, at)[:2] == (ITEM >> 16, ITEM & 0xFFFF)


def _value(raw: bytes, wanted: Wanted) -> Any:
    """One value, or a tuple of as many as there must be. ValueError: not plain."""
    vr = wanted.vrs[0].decode()
    if vr == "OB":
        return raw
    if vr in BINARY:
        if len(raw) != BINARY[vr].size:
            raise _Unusual
        return BINARY[vr].unpack(raw)[0]
    if vr == "DS":
        numbers = tuple(map(float, raw.decode("ascii").rstrip(" \0").split("\\")))
        if len(numbers) != wanted.values:
            raise _Unusual
        return numbers if wanted.values > 1 else numbers[0]
    text = _text(raw)
    if vr == "IS":
        number = int(text)
        if abs(number) >= 1 << 31:
            raise _Unusual
        return number
    if vr == "PN" and "=" in text:
        raise _Unusual
    return text


def _text(raw: bytes) -> str:
    """ASCII without padding, and without anything that may mean more than itself."""
    text = raw.decode("ascii").rstrip(" \0")
    if len(text) > MAX_TEXT or text[:1] == " " or "\\" in text or not text.isprintable():
        raise _Unusual
    return text
