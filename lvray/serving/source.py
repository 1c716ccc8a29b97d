"""The images that an estimate rests on, as the DICOM made of it refers to them: a header a slice, mended on a copy.

A header holds who and which study it is, as the first slice's file says, and where the slice lies; nothing else of the
upload goes on. What breaks the standard in it would break it in whatever is made of it: such UIDs get new ones, always
the same for the same upload, and such dates and texts are left empty. Source: DICOM PS3.3, C.7 (modules); PS3.5, 6.2
(values), 9.1 and B.2 (UIDs).
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date, datetime, time
from functools import cached_property, partial

import numpy as np
from pydicom import Dataset, config, dcmwrite
from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.uid import UID
from pydicom.valuerep import DA, TM, validate_value

from lvray.cmr.archive import Member
from lvray.cmr.dicom import Frame, facts_of
from lvray.cmr.file import MULTIFRAME_MR, inflated, reading, unreadable, up_to_pixels
from lvray.cmr.quality import Flag
from lvray.cmr.study import Cine
from lvray.errors import Reason, StudyRefused
from lvray.estimate import Estimate

PASSED_ON = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
             "AccessionNumber", "ReferringPhysicianName", "Manufacturer")
"""Empty where they are not known (type 2)."""
PASSED_ON_WHERE_KNOWN = ("IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight", "StudyDescription",
                         "ManufacturerModelName")
TIMES = (("ContentDate", "ContentTime"), ("AcquisitionDate", "AcquisitionTime"), ("SeriesDate", "SeriesTime"),
         ("StudyDate", "StudyTime"))
UNDATED = datetime(1900, 1, 1)
"""Content Date of what is made of a study without a valid date: the standard demands one (type 1)."""
SEXES = ("M", "F", "O")
SQUARE = 1e-4
"""The scalar products of the axes of a valid orientation are those of unit vectors at right angles to this."""
HEAD_BYTES = 64 << 10
"""Of each file, from which UIDs are made where it has none."""


@dataclass(frozen=True)
class Source:
    """The images of a cine at an estimate's end diastole, and what was mended in their headers.

    images: [Z] headers, base to apex, as of classic MR images; the SOP class and UIDs are those of the file that holds
    the slice. frames: [Z] its number, from 1, in a multi-frame file, else None. made: when the images were.
    """

    images: tuple[Dataset, ...] = field(repr=False)
    frames: tuple[int | None, ...]
    made: datetime = field(repr=False)
    mends: frozenset[Flag]

    def files(self) -> list[tuple[Dataset, list[int] | None]]:
        """A header of each file and the numbers of its frames that count; None of a classic image."""
        found: dict[str, tuple[Dataset, list[int] | None]] = {}
        for image, number in zip(self.images, self.frames, strict=True):
            _, numbers = found.setdefault(image.SOPInstanceUID, (image, None if number is None else []))
            if numbers is not None and number is not None:
                numbers.append(number)
        return list(found.values())

    def uid(self, estimate: Estimate, what: str) -> str:
        """Of `what` is made of these images and this estimate: the same for the same ones, another for others."""
        mask = b"" if estimate.mask is None else estimate.mask.tobytes()
        told = json.dumps(estimate.to_dict(), sort_keys=True).encode()
        return derived(what, *(i.SOPInstanceUID for i in self.images), hashlib.sha256(mask + told).hexdigest())


@reading()
def read_source(cine: Cine, estimate: Estimate) -> Source:
    """The cine's images at the estimate's ED, mended. StudyRefused: a slice lacks it, a damaged file."""
    frames = [f for row in cine.frames if (f := row[estimate.ed_phase - 1]) is not None]
    if len(frames) < cine.slices:
        raise StudyRefused(Reason.MISSING_PHASE, f"a slice has no image at phase {estimate.ed_phase}: what has gaps is"
                                                 " not given as DICOM; export the study again with all its images")
    mends: set[Flag] = set()
    uids, ds = _Uids(frames, mends), _header(frames[0].member)
    shared = _shared(ds, frames[0], cine.spacing[0], mends)
    study = uids.valid(_string(ds, "StudyInstanceUID"), "StudyInstanceUID")
    series = [uids.valid(f.series, "SeriesInstanceUID") for f in frames]
    instances = [uids.valid(f.uid, "SOPInstanceUID", str(f.member.number)) for f in frames]
    shared.StudyInstanceUID, shared.FrameOfReferenceUID = study, _frame_of_reference(frames, study, series, mends)
    shared.ImageOrientationPatient = _orientation(frames[0], mends)
    shared.SpacingBetweenSlices = cine.spacing[0]
    images = tuple(map(partial(_image, shared), frames, series, instances))
    numbers = tuple(f.index + 1 if f.sop_class in MULTIFRAME_MR else None for f in frames)
    return Source(images, numbers, _date(ds) or UNDATED, frozenset(mends))


def derived(*parts: str) -> str:
    """A UID under 2.25 made from the parts (PS3.5, B.2: the decimal form of a 128-bit number)."""
    digest = hashlib.sha256("/".join(parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def nameless(image: Dataset) -> Dataset:
    """A copy for highdicom, which warns of a name that it finds odd by printing it; `settled` gives the names back."""
    image = deepcopy(image)
    image.PatientName = image.ReferringPhysicianName = ""
    return image


def settled(ds: Dataset, source: Source, dimensions: str | None = None) -> Dataset:
    """highdicom's object with the names, and without the time of day and its random UID: same input, same bytes."""
    for name in ("PatientName", "ReferringPhysicianName"):
        setattr(ds, name, source.images[0].get(name))
    del ds.InstanceCreationDate, ds.InstanceCreationTime
    for equipment in ds.ContributingEquipmentSequence:
        equipment.pop("ContributionDateTime", None)
    if dimensions is not None:
        for item in (*ds.DimensionOrganizationSequence, *ds.DimensionIndexSequence):
            item.DimensionOrganizationUID = dimensions
    return ds


def dicom_bytes(ds: Dataset) -> bytes:
    """The file (PS3.10) of what `segmentation` or `report` made."""
    out = io.BytesIO()
    dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue()


def _header(member: Member) -> Dataset:
    with member.open() as opened:
        ds = up_to_pixels(inflated(opened, member), member)
    if ds is None:
        raise unreadable(member)
    return ds


def _shared(ds: Dataset, frame: Frame, pitch: float, mends: set[Flag]) -> Dataset:
    """What all images of the study share, by the header of one."""
    shared = Dataset()
    for name in (*PASSED_ON, *PASSED_ON_WHERE_KNOWN):
        text = _text(ds, name, mends)
        if text or name in PASSED_ON:
            setattr(shared, name, text)
    shared.Modality = "MR"
    shared.SliceThickness = _thickness(facts_of(ds, frame.index))
    if shared.SliceThickness is None:
        shared.SliceThickness = pitch
        mends.add(Flag.THICKNESS_MENDED)
    return shared


def _thickness(facts: Dataset) -> float | None:
    with suppress(TypeError, ValueError):
        if 0 < (thickness := float(facts.get("SliceThickness"))) < math.inf:
            return thickness
    return None


def _image(shared: Dataset, frame: Frame, series: str, instance: str) -> Dataset:
    image = Dataset()
    image.update(shared)
    image.SOPClassUID, image.SOPInstanceUID, image.SeriesInstanceUID = frame.sop_class, instance, series
    image.Rows, image.Columns = frame.shape
    assert frame.position is not None
    assert frame.spacing is not None
    image.ImagePositionPatient, image.PixelSpacing = list(frame.position), list(frame.spacing)
    return image


def _string(ds: Dataset, name: str) -> str:
    try:
        value = ds.get(name) or ""
        return ("\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)).strip()
    except Exception:  # pydicom raises whatever the damaged value leads to
        return ""


def _text(ds: Dataset, name: str, mends: set[Flag]) -> str:
    """A value as the standard allows it, or nothing."""
    text, vr = _string(ds, name), dictionary_VR(name)
    if not text or _is_valid(vr, text, name):
        return text
    mends.add(Flag.DATES_MENDED if vr in ("DA", "TM") else Flag.TEXTS_MENDED)
    return ""


def _is_valid(vr: str, text: str, name: str) -> bool:
    if name == "PatientSex":
        return text in SEXES
    if "\\" in text or not text.isprintable():  # several values; control characters (PS3.5, 6.1.3)
        return False
    try:
        validate_value(vr, text, config.RAISE)
        if vr in ("DA", "TM"):
            _ = DA(text) if vr == "DA" else TM(text)
    except (ValueError, OverflowError):
        return False
    return True


class _Uids:
    def __init__(self, frames: Sequence[Frame], mends: set[Flag]) -> None:
        self._frames, self._mends = frames, mends

    def valid(self, found: str, *instead: str) -> str:
        """The UID itself where it is valid, else one made of it, or of the files and `instead` where there is none."""
        if UID(found).is_valid:
            return found
        self._mends.add(Flag.UIDS_MENDED)
        return derived(found) if found else derived(self._key, *instead)

    @cached_property
    def _key(self) -> str:
        members = dict.fromkeys(f.member for f in self._frames)
        return hashlib.sha256(b"".join(m.head(HEAD_BYTES) for m in members)).hexdigest()


def _frame_of_reference(frames: Sequence[Frame], study: str, series: Sequence[str], mends: set[Flag]) -> str:
    """The images' own where they share a valid one, else one for all, made of their series."""
    found, *others = {f.frame_of_reference for f in frames}
    if not others and UID(found).is_valid:
        return found
    mends.add(Flag.FRAME_OF_REFERENCE_MENDED)
    return derived("frame of reference", study, *sorted(set(series)))


def _orientation(frame: Frame, mends: set[Flag]) -> list[float]:
    """ImageOrientationPatient of the whole stack, as the cine has it; made square where it is not."""
    assert frame.orientation is not None
    axes = np.reshape(frame.orientation, (2, 3))
    if np.abs(axes @ axes.T - np.eye(2)).max() > SQUARE:
        mends.add(Flag.ORIENTATION_MENDED)
        axes[0] /= np.linalg.norm(axes[0])
        axes[1] -= axes[1] @ axes[0] * axes[0]
        axes[1] /= np.linalg.norm(axes[1])
    return [float(v) for v in axes.ravel()]


def _date(ds: Dataset) -> datetime | None:
    """When an image was made, by the first of its dates that is valid."""
    for day, clock in TIMES:
        texts = [_text(ds, name, set()) for name in (day, clock)]
        if texts[0]:
            when = TM(texts[1]) if texts[1] else time()
            day_found = DA(texts[0])
            assert isinstance(day_found, date)
            assert isinstance(when, time)
            return datetime.combine(day_found, when.replace(tzinfo=None))
    return None
