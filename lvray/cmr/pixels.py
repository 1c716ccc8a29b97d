"""What an image shows: stored values with the rescale applied, and overlay planes. Any transfer syntax.

Sources: DICOM PS3.5, 7 and 8; PS3.3, C.7.6.16.2.9 (pixel value transformation), C.9 (overlay).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options, pixel_array
from pydicom.uid import RLELossless

from lvray.cmr.archive import Member
from lvray.cmr.codestream import is_image
from lvray.cmr.dicom import OVERLAY_GROUP, Frame, facts_of
from lvray.cmr.file import Facts, data_set, read, reading, unreadable
from lvray.cmr.header import parse
from lvray.errors import Reason, StudyRefused

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
MAX_BYTES = 256 << 20
"""Of the images asked for at once: a UK Biobank cine has 45 MB."""

Image = NDArray[np.int16] | NDArray[np.float32]


def pixels(frames: Iterable[Frame]) -> dict[Frame, Image]:
    """Stored values [Y, X] of each frame with the rescale applied; every file is read once.

    int16 where slope and intercept leave them so, else float32. StudyRefused: an image that cannot be decoded, images
    of more than MAX_BYTES.
    """
    by_file: dict[Member, list[Frame]] = {}
    for f in frames:
        by_file.setdefault(f.member, []).append(f)
    images: dict[Frame, Image] = {}
    room = MAX_BYTES
    with reading():
        for member, own in by_file.items():
            for frame, raw, facts in _stored(member, own):
                images[frame] = image = _rescaled(frame, raw, facts)
                room -= image.nbytes
                if room < 0:
                    raise StudyRefused(Reason.TOO_LARGE, f"its images take more than {MAX_BYTES >> 20} MiB")
    return images


def _stored(member: Member, frames: Iterable[Frame]) -> Iterator[tuple[Frame, NDArray[Any], Facts]]:
    """The stored values of a file's frames, and the attributes of each."""
    data = read(member)
    plain = _plain(data)
    if plain is not None:
        yield from ((frame, *plain) for frame in frames)
        return
    ds = data_set(data, member)
    del data
    for frame in frames:
        try:
            raw = _decoded(ds, frame)
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as e:  # whatever the damaged bytes lead to; a Rust decoder's panic is no Exception
            raise unreadable(member) from e
        yield frame, raw, facts_of(ds, frame.index)


def _plain(data: bytes) -> tuple[NDArray[Any], Facts] | None:
    """The stored values of an uncompressed image of 16 bits, and its attributes, where pydicom would give the same."""
    try:
        header = parse(data)
    except (ValueError, struct.error):
        return None
    rows, columns, stored = header.get("Rows"), header.get("Columns"), header.get("BitsStored")
    kind = [header.get(n) for n in ("BitsAllocated", "SamplesPerPixel", "PixelRepresentation")]
    one = header.get("NumberOfFrames") in (None, 1) and header.get("PhotometricInterpretation") in MONOCHROME
    if not one or header.pixels_bytes != 2 * rows * columns or header.pixels_at + header.pixels_bytes != len(data):
        return None
    if kind == [16, 1, 1] and stored == 16:
        raw = np.frombuffer(data, "<i2", offset=header.pixels_at)
    elif kind == [16, 1, 0] and stored in range(1, 17):
        raw = np.frombuffer(data, "<u2", offset=header.pixels_at)
        if int(raw.max()) >> stored:  # bits that mean something else
            return None
    else:
        return None
    return raw.reshape(rows, columns), header


def _decoded(ds: Dataset, frame: Frame) -> NDArray[Any]:
    """Of any transfer syntax. Compressed pixels that claim another size than the header's are not decoded."""
    syntax = ds.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return pixel_array(ds, index=frame.index)
    options = as_pixel_options(ds)
    data = get_frame(ds.PixelData, frame.index, number_of_frames=options["number_of_frames"],
                     extended_offsets=options.pop("extended_offsets", None))
    if syntax != RLELossless and not is_image(data, frame.shape):
        raise ValueError
    one = {**options, "number_of_frames": 1, "pixel_keyword": "PixelData"}
    return get_decoder(syntax).as_array(encapsulate([data], has_bot=False), index=0, **one,
                                        decoding_plugin="pylibjpeg" if syntax == RLELossless else "")[0]


def _rescaled(frame: Frame, raw: NDArray[Any], facts: Facts) -> Image:
    if raw.shape != frame.shape:
        raise unreadable(frame.member)
    try:
        slope, intercept = (default if facts.get(name) in (None, "") else float(facts.get(name))
                            for name, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)))
    except (TypeError, ValueError) as e:
        raise unreadable(frame.member) from e
    if slope == 0:
        raise StudyRefused(Reason.UNREADABLE_FILE, f"image {frame.member.number} has a RescaleSlope of 0")
    if slope == 1 and intercept == 0 and raw.min() >= -32768 and raw.max() <= 32767:
        return raw.astype(np.int16)
    with np.errstate(all="ignore"):
        image = np.asarray(raw * slope + intercept, np.float32)
    if not np.isfinite(image).all():
        raise StudyRefused(Reason.UNREADABLE_FILE, f"image {frame.member.number} holds values that are no numbers")
    return image


def overlay(frame: Frame) -> NDArray[np.bool_]:
    """The overlay plane of group 6000 [Y, X], least significant bit first (PS3.5, 8.1.2), placed by its origin."""
    with reading():
        ds = data_set(read(frame.member), frame.member)
    if (OVERLAY_GROUP, 0x3000) not in ds:
        raise unreadable(frame.member)

    def value(element: int, default: Any) -> Any:
        found = ds.get((OVERLAY_GROUP, element))
        return default if found is None or found.value is None else found.value

    try:
        rows, columns = int(value(0x0010, 0)), int(value(0x0011, 0))
        top, left = (int(v) - 1 for v in value(0x0050, (1, 1)))
        at = frame.index + 1 - int(value(0x0051, 1))
        start = at * rows * columns
        bits = np.unpackbits(np.frombuffer(value(0x3000, b""), np.uint8), bitorder="little")
        plane = bits[start:start + rows * columns].reshape(rows, columns).astype(bool)
    except Exception as e:  # any of the attributes may be of another kind
        raise unreadable(frame.member) from e
    placed = np.zeros(frame.shape, bool)
    y0, x0 = max(top, 0), max(left, 0)
    part = plane[y0 - top:, x0 - left:][:frame.shape[0] - y0, :frame.shape[1] - x0]
    placed[y0:y0 + part.shape[0], x0:x0 + part.shape[1]] = part
    return placed
