"""DICOM files to frames: one Frame for each 2D image, header facts at once and pixels when asked for.

Classic MR (one image a file) and Enhanced or legacy-converted Enhanced MR (many frames a file) give the same Frames.
Source of the attributes: DICOM PS3.3, C.7.6.2 (image plane), C.8.3 (MR), C.7.6.16 (functional groups), C.9 (overlay).
"""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from lvray.cmr.archive import Member
from lvray.errors import Reason, StudyRefused

CLASSIC_MR = "1.2.840.10008.5.1.4.1.1.4"
MULTIFRAME_MR = ("1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")
"""Enhanced MR and Legacy Converted Enhanced MR. The SOP class decides: classic files can carry an empty
Per-Frame Functional Groups Sequence."""
FRAME_GROUPS = ("FrameContentSequence", "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence",
                "PixelValueTransformationSequence", "CardiacSynchronizationSequence",
                "UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence")
"""Functional groups that say what a frame shows; the last two hold what a legacy converter could not place, such as
TriggerTime and the original InstanceNumber."""
OVERLAY_GROUP = 0x6000
PIXEL_MM = (0.2, 5.0)
"""Pixel sizes of a heart's picture (UK Biobank's are below 4 mm)."""
FARTHEST_MM = 5000.0
"""No scanner is larger."""
UNDEFINED_LENGTH, ITEM, LAST_ITEM = 0xFFFFFFFF, b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
SQUARE = 0.1
"""Rows and columns are at right angles to this in the length of their cross product."""


@dataclass(frozen=True)
class Frame:
    """One 2D image. Lengths in mm in patient coordinates (LPS), times in ms.

    spacing is (dy, dx), from PixelSpacing (row spacing first); None where it is absent or outside PIXEL_MM.
    position and orientation are None where the file does not place the image.
    """

    member: Member = field(repr=False)
    index: int
    """Frame within its file, from 0."""
    instance: int
    """InstanceNumber; in a multi-frame file the frame's original one where it is kept, else its number."""
    uid: str = field(repr=False)
    series: str = field(repr=False)
    series_number: int
    description: str
    acquired: str = field(repr=False)
    """Date and time, as text that sorts."""
    patient: str = field(repr=False)
    """PatientID."""
    identity: tuple[str, str, str, str] = field(repr=False)
    """PatientID, PatientName, PatientBirthDate and StudyInstanceUID: whose image this is, and of which examination."""
    shape: tuple[int, int]
    position: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None
    """ImageOrientationPatient: direction of increasing column, then of increasing row."""
    spacing: tuple[float, float] | None
    trigger: float | None
    """Delay after the R wave."""
    interval: float | None
    """Length of the heart beat."""
    temporal_index: int | None
    has_overlay: bool
    person: tuple[float | None, float | None, str | None] = field(repr=False)
    """Height in cm, weight in kg, sex."""


def unreadable(member: Member) -> StudyRefused:
    return StudyRefused(Reason.UNREADABLE_FILE, f"image {member.number} is damaged or cut short; copy it again")


def read_frames(members: Iterable[Member]) -> list[Frame]:
    """The frames of every MR image among the files, in no meaningful order.

    Other DICOM objects and files that are not DICOM are left out. StudyRefused: no DICOM at all, a file named .dcm that
    is none, or one that is cut short.
    """
    frames: list[Frame] = []
    any_dicom = False
    for member in members:
        with quiet(), member.open() as f:
            ds = _header(member, f)
            any_dicom |= ds is not None
            if ds is None or _sop_class(ds) not in (CLASSIC_MR, *MULTIFRAME_MR):
                continue
            try:
                frames += _frames(ds, member)
                complete = _is_complete(ds, member, f)
            except Exception as e:  # pydicom raises whatever the damaged bytes lead to
                raise unreadable(member) from e
            if not complete:
                raise unreadable(member)
    if not any_dicom:
        raise StudyRefused(Reason.NO_DICOM, "no DICOM file in the study; give the folder or zip that holds the images")
    return frames


def _header(member: Member, f: BinaryIO) -> Dataset | None:
    """A DICOM file up to its pixels, where `f` is left; None for a manifest, a note, a picture."""
    start = f.read(132)
    if len(start) < 132 and not start.strip(b"\0"):  # empty, or cut within the preamble
        raise unreadable(member)
    must_be_dicom = member.dicom_name or start[128:] == b"DICM"
    if not must_be_dicom and start[1:2] != b"\0":  # no preamble, and no tag of a low group either
        return None
    f.seek(0)
    try:
        ds = pydicom.dcmread(f, stop_before_pixels=True, force=True)
        if _sop_class(ds):
            return ds
    except Exception as e:  # pydicom raises whatever the damaged bytes lead to
        if must_be_dicom:
            raise unreadable(member) from e
    if must_be_dicom:
        raise unreadable(member)
    return None


def _sop_class(ds: Dataset) -> str:
    """A DICOMDIR has its class in the file meta information alone."""
    return str(ds.get("SOPClassUID") or ds.file_meta.get("MediaStorageSOPClassUID", ""))


def _is_complete(ds: Dataset, member: Member, f: BinaryIO) -> bool:
    """Whether the pixels are there to the last byte (PS3.5, 7.1 and A.4). f stands where their element begins."""
    if ds.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        return True  # else to inflate it would have failed
    implicit, little = ds.original_encoding
    header = f.read(8 if implicit else 12)
    length = int.from_bytes(header[-4:], "little" if little else "big")
    if length == UNDEFINED_LENGTH:
        while (item := f.read(8))[:4] == ITEM:
            f.seek(int.from_bytes(item[4:], "little"), io.SEEK_CUR)
        return item[:4] == LAST_ITEM and len(item) == 8
    need = int(ds.Rows * ds.Columns * ds.BitsAllocated // 8 * (ds.get("NumberOfFrames") or 1))
    return f.tell() + max(length, need) <= member.size


def _frames(ds: Dataset, member: Member) -> Iterator[Frame]:
    count = int(ds.NumberOfFrames) if _sop_class(ds) in MULTIFRAME_MR else 1
    return (_frame(ds, facts_of(ds, index), member, index) for index in range(count))


def facts_of(ds: Dataset, index: int) -> Dataset:
    """The attributes of one frame: the functional groups flattened, or a classic image's own."""
    if _sop_class(ds) not in MULTIFRAME_MR:
        return ds
    facts = Dataset()
    facts.InstanceNumber = index + 1
    shared, own = ds.get("SharedFunctionalGroupsSequence") or [], ds.get("PerFrameFunctionalGroupsSequence") or []
    for holder in (*shared[:1], *own[index:index + 1]):
        for name in FRAME_GROUPS:
            if holder.get(name):
                facts.update(holder[name][0])
    return facts


def _frame(ds: Dataset, facts: Dataset, member: Member, index: int) -> Frame:
    place = _floats(facts.get("ImagePositionPatient"), 3)
    spacing = _floats(facts.get("PixelSpacing"), 2)
    temporal = _first(facts, "TemporalPositionIndex", "TemporalPositionIdentifier")
    height = _first(ds, "PatientSize")
    return Frame(
        member=member, index=index, instance=int(facts.get("InstanceNumber") or 0),
        uid=str(ds.get("SOPInstanceUID", "")), series=str(ds.get("SeriesInstanceUID", "")),
        series_number=int(ds.get("SeriesNumber") or 0), description=str(ds.get("SeriesDescription") or ""),
        acquired=str(facts.get("FrameAcquisitionDateTime") or ds.get("AcquisitionDateTime")
                     or f"{ds.get('AcquisitionDate') or ''}{ds.get('AcquisitionTime') or ds.get('ContentTime') or ''}"),
        patient=_text(ds, "PatientID"), identity=(_text(ds, "PatientID"), _text(ds, "PatientName"),
                                                  _text(ds, "PatientBirthDate"), _text(ds, "StudyInstanceUID")),
        shape=(int(ds.Rows), int(ds.Columns)),
        position=(place[0], place[1], place[2]) if place and max(map(abs, place)) <= FARTHEST_MM else None,
        orientation=_orientation(facts.get("ImageOrientationPatient")),
        spacing=(spacing[0], spacing[1]) if spacing and PIXEL_MM[0] <= min(spacing) <= max(spacing) <= PIXEL_MM[1]
        else None,
        trigger=_first(facts, "TriggerTime", "NominalCardiacTriggerDelayTime"),
        interval=_first(facts, "NominalInterval", "RRIntervalTimeNominal"),
        temporal_index=None if temporal is None else int(temporal), has_overlay=_has_overlay(ds, index),
        person=(height * 100 if height else None, _first(ds, "PatientWeight"), ds.get("PatientSex") or None))


def _has_overlay(ds: Dataset, index: int) -> bool:
    """Whether an overlay belongs to this frame (PS3.3, C.9.3: its frames start at ImageFrameOrigin)."""
    found = {element: ds.get((OVERLAY_GROUP, element)) for element in (0x0015, 0x0051, 0x3000)}
    count, origin = (int(e.value) if e is not None and e.value else 1 for e in (found[0x0015], found[0x0051]))
    data = found[0x3000]
    return data is not None and bool(data.value) and origin <= index + 1 < origin + count


def _text(ds: Dataset, name: str) -> str:
    return str(ds.get(name) or "").strip()


def _first(ds: Dataset, *names: str) -> float | None:
    """The first of these attributes that is a finite number."""
    for name in names:
        with suppress(TypeError, ValueError):
            value = float(ds.get(name))
            if math.isfinite(value):
                return value
    return None


def _floats(value: Any, n: int) -> tuple[float, ...] | None:
    """n finite numbers of a multi-valued attribute, or None."""
    if value in (None, "") or isinstance(value, str | float) or len(value) != n:
        return None
    numbers = tuple(float(v) for v in value)
    return numbers if all(math.isfinite(v) for v in numbers) else None


def _orientation(value: Any) -> tuple[float, ...] | None:
    """None also where rows and columns are not unit vectors at right angles."""
    axes = _floats(value, 6)
    if axes is None or abs(np.linalg.norm(np.cross(axes[:3], axes[3:])) - 1) > SQUARE:
        return None
    return axes


@contextmanager
def quiet() -> Iterator[None]:
    """Real files break the standard in harmless ways (UID parts with leading zeros): no warning for each.

    What is not harmless is raised; pydicom's own log would add a traceback to it.
    """
    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
