"""What an image shows: stored values with the rescale applied, and overlay planes. Any transfer syntax.

Sources: DICOM PS3.5, 7 and 8; PS3.3, C.7.6.16.2.9 (pixel value transformation), C.9 (overlay).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from lvray.cmr.archive import Member
from lvray.cmr.dicom import OVERLAY_GROUP, Frame, facts_of, quiet, unreadable
from lvray.errors import Reason, StudyRefused


def pixels(frames: Iterable[Frame]) -> dict[Frame, NDArray[np.int16] | NDArray[np.float32]]:
    """Stored values [Y, X] of each frame with the rescale applied; every file is read once.

    int16 where slope and intercept leave them so, else float32. StudyRefused: an image that cannot be decoded.
    """
    by_file: dict[Member, list[Frame]] = {}
    for f in frames:
        by_file.setdefault(f.member, []).append(f)
    return {f: image for member, own in by_file.items() for f, image in _decode(_read_file(member), own)}


def _decode(ds: Dataset, frames: Iterable[Frame]) -> Iterator[tuple[Frame, NDArray[Any]]]:
    for frame in frames:
        with quiet():
            try:
                raw = pixel_array(ds, index=frame.index)
                facts = facts_of(ds, frame.index)
                slope, intercept = (float(facts.get(name) or default)
                                    for name, default in (("RescaleSlope", 1), ("RescaleIntercept", 0)))
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as e:  # whatever the damaged bytes lead to; a Rust decoder's panic is no Exception
                raise unreadable(frame.member) from e
        if raw.shape != frame.shape:
            raise unreadable(frame.member)
        if slope == 1 and intercept == 0 and raw.min() >= -32768 and raw.max() <= 32767:
            yield frame, raw.astype(np.int16)
            continue
        with np.errstate(all="ignore"):
            image = np.asarray(raw * slope + intercept, np.float32)
        if not np.isfinite(image).all():
            raise StudyRefused(Reason.UNREADABLE_FILE, f"image {frame.member.number} holds values that are no numbers")
        yield frame, image


def overlay(frame: Frame) -> NDArray[np.bool_]:
    """The overlay plane of group 6000 [Y, X], least significant bit first (PS3.5, 8.1.2), placed by its origin."""
    ds = _read_file(frame.member)
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


def _read_file(member: Member) -> Dataset:
    """The whole file, with the transfer syntax that it was read in where it names none."""
    with quiet(), member.open() as f:
        try:
            ds = pydicom.dcmread(f, force=True)
            if "TransferSyntaxUID" not in ds.file_meta:
                implicit, little = ds.original_encoding
                ds.file_meta.TransferSyntaxUID = (ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
                                                  if little else ExplicitVRBigEndian)
            return ds
        except Exception as e:  # pydicom raises whatever the damaged bytes lead to
            raise unreadable(member) from e
