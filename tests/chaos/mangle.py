"""Studies that somebody's disk, network or malice has been at: one mangled zip for each number and seed."""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write_participant

Files = dict[str, bytes]
Rng = np.random.Generator
BOMB_BYTES = 700 << 20
PARTICIPANT = 1
"""One with InlineVF outlines."""
NUMBERS = ("nan", "inf", "-1e308", "1e308", "0", "-0", "999999999999", "1e-300", "", "abc", "1\\2\\3\\4\\5\\6\\7", "\\")
NUMBERED = ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "TriggerTime", "RescaleSlope",
            "RescaleIntercept", "InstanceNumber", "SeriesNumber", "NominalInterval", "PatientSize")
SIZED = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel", "PixelRepresentation",
         "NumberOfFrames")
VRS = (b"US", b"SQ", b"OB", b"OW", b"DS", b"IS", b"UL", b"FD", b"UN", b"UT", b"AT", b"ZZ", b"\0\0")


def sound(folder: Path) -> list[Files]:
    """The studies to mangle: a small phantom as it comes, and with its images compressed in three ways."""
    path = write_participant(folder, 3, PARTICIPANT, PhantomOptions(phases=2, slices=6, rows=64, columns=64))
    with zipfile.ZipFile(path) as archive:
        plain = {i.filename: archive.read(i) for i in archive.infolist()}
    path.unlink()
    return [plain, *({name: _compressed(data, syntax) if name.endswith(".dcm") else data
                      for name, data in plain.items()}
                     for syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless))]


def mangled(studies: list[Files], seed: int, number: int) -> tuple[str, bytes]:
    """What was done, and the zip."""
    rng = np.random.default_rng([seed, number])
    files = dict(studies[0 if rng.random() < 0.6 else int(rng.integers(1, len(studies)))])
    if number % 5 == 0:
        damage = ZIPS[number // 5 % len(ZIPS)]
        return damage.__name__.strip("_"), damage(rng, files)
    change = IMAGES[number % len(IMAGES)]
    images = sorted(name for name in files if name.endswith(".dcm"))
    every = rng.random() < 0.3
    for name in images if every else rng.choice(images, int(rng.integers(1, 4)), replace=False).tolist():
        files[name] = change(rng, files[name])
    return change.__name__.strip("_"), zipped(files)


def zipped(files: Files) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _compressed(data: bytes, syntax: pydicom.uid.UID) -> bytes:
    ds = pydicom.dcmread(io.BytesIO(data))
    ds.compress(syntax, encoding_plugin="pylibjpeg" if syntax == JPEG2000Lossless else "")
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()


def _flip(rng: Rng, data: bytes) -> bytes:
    raw = bytearray(data)
    for at in rng.integers(0, len(raw), int(rng.integers(1, 40))):
        raw[at] ^= int(rng.integers(1, 256))
    return bytes(raw)


def _flip_header(rng: Rng, data: bytes) -> bytes:
    return _flip(rng, data[:1500]) + data[1500:]


def _flip_pixels(rng: Rng, data: bytes) -> bytes:
    return data[:-600] + _flip(rng, data[-600:])


def _truncate(rng: Rng, data: bytes) -> bytes:
    return data[:int(rng.integers(0, len(data)))]


def _lengthen(rng: Rng, data: bytes) -> bytes:
    return data + rng.bytes(int(rng.integers(1, 4000)))


def _splice(rng: Rng, data: bytes) -> bytes:
    """A run of bytes taken out or put in: everything behind it shifts."""
    at, n = int(rng.integers(132, len(data))), int(rng.integers(1, 64))
    return data[:at] + (data[at + n:] if rng.random() < 0.5 else rng.bytes(n) + data[at:])


def _drop_tag(rng: Rng, data: bytes) -> bytes:
    def drop(ds: pydicom.Dataset) -> None:
        del ds[list(ds.keys())[int(rng.integers(len(ds)))]]
    return _edited(data, drop)


def _absurd_size(rng: Rng, data: bytes) -> bytes:
    return _rewritten(data, str(rng.choice(SIZED)), str(rng.choice([0, 1, 3, 8, 255, 4096, 30000, 65535])))


def _absurd_number(rng: Rng, data: bytes) -> bytes:
    return _rewritten(data, str(rng.choice(NUMBERED)), str(rng.choice(NUMBERS)))


def _absurd_text(rng: Rng, data: bytes) -> bytes:
    name = str(rng.choice(["PatientName", "SeriesDescription", "SeriesInstanceUID", "SpecificCharacterSet",
                           "PatientSex", "AcquisitionTime"]))
    text = rng.bytes(int(rng.integers(0, 30))).decode("latin-1")
    return _rewritten(data, name, text.replace("\0", "?") if name == "SpecificCharacterSet" else text)


def _wrong_vr(rng: Rng, data: bytes) -> bytes:
    at = _elements(data)
    i = at[int(rng.integers(len(at)))]
    return data[:i + 4] + VRS[int(rng.integers(len(VRS)))] + data[i + 6:]


def _wrong_length(rng: Rng, data: bytes) -> bytes:
    at = _elements(data)
    i = at[int(rng.integers(len(at)))]
    return data[:i + 6] + int(rng.choice([0, 1, 0x7FFE, 0xFFFF])).to_bytes(2, "little") + data[i + 8:]


def _other_syntax(rng: Rng, data: bytes) -> bytes:
    """The transfer syntax names another coding than the file has."""
    other = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.90",
             "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.5", "1.2.3")
    old = str(pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True).file_meta.TransferSyntaxUID).encode()
    new = str(rng.choice([o for o in other if len(o) <= len(old)])).encode()
    return data.replace(old, new.ljust(len(old), b"\0"), 1)


def _garbage(rng: Rng, data: bytes) -> bytes:
    return [b"", b"\0" * 4000, rng.bytes(3000), b"a note", data[:132], b"\0" * 128 + b"DICM",
            b"\0" * 128 + b"DICM" + rng.bytes(500)][int(rng.integers(7))]


def _elements(data: bytes) -> list[int]:
    """Where the explicit elements of short length of a file begin, more or less."""
    return [i for i in range(132, min(len(data) - 8, 2000))
            if data[i + 4:i + 6].isalpha() and data[i + 4:i + 6].isupper() and data[i + 1] in (0, 16, 24, 32, 40, 96)]


def _edited(data: bytes, edit: Callable[[pydicom.Dataset], None]) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(io.BytesIO(data))
        edit(ds)
        out = io.BytesIO()
        pydicom.dcmwrite(out, ds, enforce_file_format=False)
    return out.getvalue()


def _rewritten(data: bytes, keyword: str, value: str) -> bytes:
    """The raw bytes of an element replaced, whatever the standard thinks of them."""
    tag = pydicom.tag.Tag(keyword)
    def edit(ds: pydicom.Dataset) -> None:
        vr = pydicom.datadict.dictionary_VR(tag)
        raw = int(value).to_bytes(2, "little") if vr == "US" else value.encode("latin-1")
        ds[tag] = pydicom.dataelem.RawDataElement(tag, vr, len(raw) + len(raw) % 2, raw + b" " * (len(raw) % 2), 0,
                                                  False, True)
    return _edited(data, edit)


def _zip_flip(rng: Rng, files: Files) -> bytes:
    return _flip(rng, zipped(files))


def _zip_flip_directory(rng: Rng, files: Files) -> bytes:
    data = zipped(files)
    return data[:-1500] + _flip(rng, data[-1500:])


def _zip_truncate(rng: Rng, files: Files) -> bytes:
    return _truncate(rng, zipped(files))


def _zip_splice(rng: Rng, files: Files) -> bytes:
    return _splice(rng, zipped(files))


def _zip_garbage(rng: Rng, files: Files) -> bytes:
    return rng.bytes(int(rng.integers(0, 3000)))


def _zip_empty(rng: Rng, files: Files) -> bytes:
    return zipped({})


def _zip_outside(rng: Rng, files: Files) -> bytes:
    name = str(rng.choice(["../../escaped.dcm", "/escaped.dcm", "C:\\escaped.dcm", "..\\escaped.dcm", "a/../../b.dcm"]))
    return zipped({**files, name: next(iter(files.values()))})


def _zip_bomb(rng: Rng, files: Files) -> bytes:
    """A member of 700 MB of one byte, which says what it is."""
    return _with_raw(files, "0bomb.dcm", _bomb(), BOMB_BYTES)


def _zip_lying_bomb(rng: Rng, files: Files) -> bytes:
    """The same, but the directory says that it is small."""
    return _with_raw(files, "0bomb.dcm", _bomb(), int(rng.integers(100, 100_000)))


def _zip_dicom_bomb(rng: Rng, files: Files) -> bytes:
    """An image whose pixels go on for 700 MB."""
    head = next(data for name, data in files.items() if name.endswith(".dcm"))
    return _with_raw(files, "0bomb.dcm", _deflated(head, BOMB_BYTES - len(head)), BOMB_BYTES)


def _zip_overlap(rng: Rng, files: Files) -> bytes:
    """Many directory entries that share one compressed member."""
    data = zipped(files)
    end = data.rfind(b"PK\5\6")
    start = int.from_bytes(data[end + 16:end + 20], "little")
    first = data[start:data.index(b"PK\1\2", start + 4)]
    many = b"".join(first[:46] + bytes([97 + i % 26, 97 + i // 26 % 26]) + first[48:] for i in range(600))
    count = (600).to_bytes(2, "little")
    return (data[:start] + many + b"PK\5\6\0\0\0\0" + count * 2 + len(many).to_bytes(4, "little")
            + start.to_bytes(4, "little") + b"\0\0")


def _zip_many(rng: Rng, files: Files) -> bytes:
    return zipped({**files, **{f"{i}.txt": b"" for i in range(30_000)}})


def _zip_encrypted(rng: Rng, files: Files) -> bytes:
    data = bytearray(zipped(files))
    at = data.index(b"PK\1\2")
    data[at + 8] |= 1
    return bytes(data)


def _zip_method(rng: Rng, files: Files) -> bytes:
    data = bytearray(zipped(files))
    at = data.index(b"PK\1\2")
    data[at + 10] = int(rng.integers(1, 100))
    return bytes(data)


def _bomb() -> bytes:
    return _deflated(b"\0" * 128 + b"DICM", BOMB_BYTES - 132)


def _deflated(head: bytes, zeros: int) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    block = b"\0" * (1 << 20)
    return (packer.compress(head) + b"".join(packer.compress(block) for _ in range(zeros >> 20))
            + packer.compress(b"\0" * (zeros & 0xFFFFF)) + packer.flush())


def _with_raw(files: Files, name: str, deflated: bytes, size: int) -> bytes:
    """A zip with one member of raw deflated bytes and any declared size."""
    data = zipped({name: b"x", **files})
    directory = data.index(b"PK\1\2")
    local_end = 30 + len(name)
    first = data[:local_end]
    body = int.from_bytes(data[18:22], "little")
    sizes = len(deflated).to_bytes(4, "little") + size.to_bytes(4, "little")
    moved = len(deflated) - body
    out = bytearray(first[:18] + sizes + first[26:] + deflated + data[local_end + body:])
    at = directory + moved
    out[at + 20:at + 28] = sizes
    while out[at:at + 4] == b"PK\1\2":
        offset = int.from_bytes(out[at + 42:at + 46], "little")
        if offset:
            out[at + 42:at + 46] = (offset + moved).to_bytes(4, "little")
        at += 46 + sum(int.from_bytes(out[at + i:at + i + 2], "little") for i in (28, 30, 32))
    start = int.from_bytes(out[at + 16:at + 20], "little") + moved
    out[at + 16:at + 20] = start.to_bytes(4, "little")
    return bytes(out)


IMAGES = (_flip, _flip_header, _flip_pixels, _truncate, _lengthen, _splice, _drop_tag, _absurd_size, _absurd_number,
          _absurd_text, _wrong_vr, _wrong_length, _other_syntax, _garbage)
ZIPS = (_zip_flip, _zip_flip_directory, _zip_truncate, _zip_splice, _zip_garbage, _zip_empty, _zip_outside, _zip_bomb,
        _zip_lying_bomb, _zip_dicom_bomb, _zip_overlap, _zip_many, _zip_encrypted, _zip_method)
