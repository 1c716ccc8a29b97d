"""DICOM files to frames: one Frame for each 2D image, header facts at once and pixels when asked for.

Classic MR (one image a file) and Enhanced or legacy-converted Enhanced MR (many frames a file) give the same Frames.
Source of the attributes: DICOM PS3.3, C.7.6.2 (image plane), C.8.3 (MR), C.7.6.16 (functional groups), C.9 (overlay).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset

from lvray.cmr.archive import Member
from lvray.cmr.file import (
    MULTIFRAME_MR,
    Facts,
    inflated,
    is_complete,
    plain_is_complete,
    reading,
    sop_class,
    unreadable,
    up_to_pixels,
)
from lvray.cmr.header import CLASSIC_MR, MAX_TEXT, Header, read_header
from lvray.errors import Reason, StudyRefused

FRAME_GROUPS = ("FrameContentSequence", "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence",
                "PixelValueTransformationSequence", "CardiacSynchronizationSequence",
                "UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence")
"""Functional groups that say what a frame shows; the last two hold what a legacy converter could not place, such as
TriggerTime and the original InstanceNumber."""
OVERLAY_GROUP = 0x6000
OVERLAY = {0x3000: "OverlayData", 0x0015: "NumberOfFramesInOverlay", 0x0051: "ImageFrameOrigin"}
"""What tells whether an overlay belongs to a frame."""
PIXEL_MM = (0.2, 5.0)
"""Pixel sizes of a heart's picture (UK Biobank's are below 4 mm)."""
FARTHEST_MM = 5000.0
"""No scanner is larger."""
MAX_SIDE = 4096
"""Rows and columns of an MR image: real ones are below 1024."""
MAX_FRAMES = 50_000
"""Images of a study."""
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
    sop_class: str
    uid: str = field(repr=False)
    series: str = field(repr=False)
    frame_of_reference: str = field(repr=False)
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
    phantom: bool
    """QualityControlImage (PS3.3, C.7.6.1): not of a person."""


def read_frames(members: Iterable[Member]) -> list[Frame]:
    """The frames of every MR image among the files, in no meaningful order.

    Other DICOM objects and files that are not DICOM are left out. StudyRefused: no DICOM at all, a file named .dcm that
    is none, one that is cut short or claims an absurd size.
    """
    frames: list[Frame] = []
    any_dicom = False
    with reading():
        for member in members:
            header = read_header(member.head)
            found = _any_frames(member) if header is None else [_plain_frame(header, member)]
            any_dicom |= found is not None
            frames += found or ()
            _refuse_many(len(frames))
    if not any_dicom:
        raise StudyRefused(Reason.NO_DICOM, "no DICOM file in the study; give the folder or zip that holds the images")
    return frames


def _plain_frame(header: Header, member: Member) -> Frame:
    values = header.values
    frame = _frame(values, values, _overlaid(*map(values.get, OVERLAY.values())), member, 0, CLASSIC_MR)
    if not plain_is_complete(header, member):
        raise unreadable(member)
    return frame


def _any_frames(member: Member) -> list[Frame] | None:
    """The frames of any file, as pydicom reads it: none of another DICOM object, None where it is not DICOM."""
    with member.open() as opened:
        f = inflated(opened, member)
        ds = up_to_pixels(f, member)
        if ds is None or sop_class(ds) not in (CLASSIC_MR, *MULTIFRAME_MR):
            return None if ds is None else []
        try:
            frames, complete = list(_frames(ds, member)), is_complete(ds, f)
        except StudyRefused:
            raise
        except Exception as e:  # pydicom raises whatever the damaged bytes lead to
            raise unreadable(member) from e
    if not complete:
        raise unreadable(member)
    return frames


def _refuse_many(frames: int) -> None:
    if frames > MAX_FRAMES:
        raise StudyRefused(Reason.TOO_LARGE, f"more than {MAX_FRAMES} MR images; give one study")


def _frames(ds: Dataset, member: Member) -> Iterator[Frame]:
    sop = sop_class(ds)
    count = int(ds.NumberOfFrames) if sop in MULTIFRAME_MR else 1
    _refuse_many(count)
    found = (ds.get((OVERLAY_GROUP, element)) for element in OVERLAY)
    overlaid = _overlaid(*(None if e is None else e.value for e in found))
    return (_frame(ds, facts_of(ds, index), overlaid, member, index, sop) for index in range(count))


def facts_of(ds: Dataset, index: int) -> Dataset:
    """The attributes of one frame: the functional groups flattened, or a classic image's own."""
    if sop_class(ds) not in MULTIFRAME_MR:
        return ds
    facts = Dataset()
    facts.InstanceNumber = index + 1
    shared, own = ds.get("SharedFunctionalGroupsSequence") or [], ds.get("PerFrameFunctionalGroupsSequence") or []
    for holder in (*shared[:1], *own[index:index + 1]):
        for name in FRAME_GROUPS:
            if holder.get(name):
                facts.update(holder[name][0])
    return facts


def _frame(ds: Facts, facts: Facts, overlaid: range, member: Member, index: int, sop: str) -> Frame:
    """ds: of the file; facts: of the frame; overlaid: numbers of the frames that its overlay belongs to; sop: class."""
    place = _floats(facts.get("ImagePositionPatient"), 3)
    spacing = _floats(facts.get("PixelSpacing"), 2)
    temporal = _first(facts, "TemporalPositionIndex", "TemporalPositionIdentifier")
    height = _first(ds, "PatientSize")
    patient, study = _text(ds, "PatientID"), _text(ds, "StudyInstanceUID")
    return Frame(
        member=member, index=index, instance=int(facts.get("InstanceNumber") or 0),
        sop_class=sop, uid=_text(ds, "SOPInstanceUID"), series=_text(ds, "SeriesInstanceUID"),
        frame_of_reference=_text(ds, "FrameOfReferenceUID"),
        series_number=int(ds.get("SeriesNumber") or 0), description=_text(ds, "SeriesDescription"),
        acquired=_text(facts, "FrameAcquisitionDateTime") or _text(ds, "AcquisitionDateTime")
        or _text(ds, "AcquisitionDate") + (_text(ds, "AcquisitionTime") or _text(ds, "ContentTime")),
        patient=patient, identity=(patient, _text(ds, "PatientName"), _text(ds, "PatientBirthDate"), study),
        shape=_shape(ds, member),
        position=(place[0], place[1], place[2]) if place and max(map(abs, place)) <= FARTHEST_MM else None,
        orientation=_orientation(facts.get("ImageOrientationPatient")),
        spacing=(spacing[0], spacing[1]) if spacing and PIXEL_MM[0] <= min(spacing) <= max(spacing) <= PIXEL_MM[1]
        else None,
        trigger=_first(facts, "TriggerTime", "NominalCardiacTriggerDelayTime"),
        interval=_first(facts, "NominalInterval", "RRIntervalTimeNominal"),
        temporal_index=None if temporal is None else int(temporal), has_overlay=index + 1 in overlaid,
        person=(height * 100 if height else None, _first(ds, "PatientWeight"), _text(ds, "PatientSex") or None),
        phantom=_text(ds, "QualityControlImage") == "YES")


def _shape(ds: Facts, member: Member) -> tuple[int, int]:
    """Rows and columns."""
    rows, columns = int(ds.get("Rows")), int(ds.get("Columns"))
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE):
        raise StudyRefused(Reason.UNREADABLE_FILE, f"image {member.number} claims {rows} x {columns} pixels;"
                                                   " it is damaged: copy it again")
    return rows, columns


def _overlaid(data: Any, count: Any, origin: Any) -> range:
    """Numbers of the frames, from 1, that an overlay belongs to (PS3.3, C.9.3)."""
    frames, first = int(count or 1), int(origin or 1)
    return range(first, first + frames) if data else range(0)


def _text(facts: Facts, name: str) -> str:
    text = str(facts.get(name) or "").strip()
    if len(text) > MAX_TEXT:
        raise ValueError(name)
    return text


def _first(facts: Facts, *names: str) -> float | None:
    """The first of these attributes that is a finite number."""
    for name in names:
        value = facts.get(name)
        if value is None:
            continue
        with suppress(TypeError, ValueError):
            number = float(value)
            if math.isfinite(number):
                return number
    return None


def _floats(value: Any, n: int) -> tuple[float, ...] | None:
    """n finite numbers of a multi-valued attribute, or None."""
    if value in (None, "") or isinstance(value, str | float) or len(value) != n:
        return None
    numbers = tuple(float(v) for v in value)
    return numbers if all(map(math.isfinite, numbers)) else None


def _orientation(value: Any) -> tuple[float, ...] | None:
    """None also where rows and columns are not unit vectors at right angles."""
    axes = _floats(value, 6)
    if axes is None:
        return None
    a, b, c, d, e, f = axes
    cross = math.hypot(b * f - c * e, c * d - a * f, a * e - b * d)
    return axes if abs(cross - 1) <= SQUARE else None
