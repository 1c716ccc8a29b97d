"""An estimate's mask as a DICOM Segmentation (PS3.3, A.51), by highdicom.

Every slice of the cine has a frame for each segment, empty or not, so that a reader finds the whole grid. The codes
are those of PS3.16: CID 7150 and 7151 (segments), 12305 (myocardium), 7162 (algorithm).
"""

from __future__ import annotations

from collections import defaultdict
from copy import deepcopy
from typing import Any

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.utils import pack_bits
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import MRImageStorage

from lvray.cmr.mass import CAVITY, MYOCARDIUM
from lvray.errors import Reason, StudyRefused
from lvray.estimate import Estimate
from lvray.serving.source import Source, derived, nameless, settled

LEFT_VENTRICLE = codes.cid7151.LeftVentricle
LV_MYOCARDIUM = codes.cid12305.LeftVentricleMyocardium
SEGMENTS = ((CAVITY, "LV cavity", codes.cid7150.BodySubstance, codes.cid7151.Blood),
            (MYOCARDIUM, "LV myocardium", codes.cid7150.AnatomicalStructure, LV_MYOCARDIUM))
"""Number, which is the mask's label, name, category and type. DICOM's part of SNOMED CT has no cavity of the left
ventricle: it is the blood within it, papillary muscles included."""
RESEARCH = "Research use only, not for diagnosis"
SERIES, MANUFACTURER = 9001, "lvray"


def segmentation(source: Source, estimate: Estimate) -> Dataset:
    """The mask as two binary segments, 1 cavity and 2 myocardium, in the study and frame of reference of the images.

    StudyRefused: what `drawn` refuses.
    """
    mask = drawn(estimate)
    uid = source.uid(estimate, "SEG")
    seg = Segmentation(
        source_images=_stand_ins(source), pixel_array=mask, segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_described(estimate, uid, *segment) for segment in SEGMENTS],
        series_instance_uid=derived(uid, "series"), series_number=SERIES, series_description=f"LV mask - {RESEARCH}",
        sop_instance_uid=uid, instance_number=1, content_label="LV", content_description=RESEARCH,
        omit_empty_frames=False, specific_character_set="ISO_IR 192",
        content_date=source.made.date(), content_time=source.made.time(), **device(estimate))
    _refer(seg, source)
    _order(seg)
    return settled(seg, source, derived(uid, "dimensions"))


def drawn(estimate: Estimate) -> NDArray[np.uint8]:
    """Its mask. StudyRefused: an estimate without one (ML4Hreg)."""
    if estimate.mask is None:
        raise StudyRefused(Reason.NO_MASK, "the network tells the mass without outlines: there is no mask to give")
    return estimate.mask


def device(estimate: Estimate) -> dict[str, Any]:
    """Who made it, in the words of highdicom's constructors; the serial number is the weights' hash."""
    return {"manufacturer": MANUFACTURER, "manufacturer_model_name": f"lvray {estimate.method}",
            "software_versions": estimate.versions["lvray"],
            "device_serial_number": (estimate.network or {}).get("weights", estimate.versions["lvray"])}


def parameters(estimate: Estimate) -> dict[str, str]:
    """What an algorithm is identified by beside name and version: kind, recipe and hash of the weights."""
    return dict(estimate.network or {})


def _described(estimate: Estimate, uid: str, number: int, label: str, category: Code, kind: Code) -> SegmentDescription:
    by_network = estimate.method == "ML4Hseg"
    algorithm = AlgorithmIdentificationSequence(
        name=f"lvray {estimate.method}", version=estimate.versions["lvray"],
        family=codes.cid7162.ArtificialIntelligence, parameters=parameters(estimate) or None)
    return SegmentDescription(
        number, label, category, kind, tracking_id=label, tracking_uid=derived(uid, label),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC if by_network else SegmentAlgorithmTypeValues.MANUAL,
        algorithm_identification=algorithm if by_network else None, anatomic_regions=[LEFT_VENTRICLE])


def _stand_ins(source: Source) -> list[Dataset]:
    """Headers that highdicom takes: it wants classic images of one series, but each slice may be one of its own, and
    several may share a multi-frame file. `_refer` puts the real references in."""
    images = []
    for z, image in enumerate(source.images):
        image = nameless(image)
        image.SOPClassUID, image.SeriesInstanceUID = MRImageStorage, source.images[0].SeriesInstanceUID
        image.SOPInstanceUID = derived(image.SOPInstanceUID, str(z))
        images.append(image)
    return images


def _refer(seg: Dataset, source: Source) -> None:
    """The references to the source's files, and of each frame to its slice, instead of those to the stand-ins."""
    slices = {i.SOPInstanceUID: z for z, i in enumerate(_stand_ins(source))}
    series: dict[str, list[Dataset]] = defaultdict(list)
    seg.SourceImageSequence = []
    for image, numbers in source.files():
        item = _reference(image)
        series[image.SeriesInstanceUID].append(deepcopy(item))
        if numbers is not None:
            item.ReferencedFrameNumber = numbers
        seg.SourceImageSequence.append(item)
    seg.ReferencedSeriesSequence = []
    for uid, items in series.items():
        of_series = Dataset()
        of_series.SeriesInstanceUID, of_series.ReferencedInstanceSequence = uid, items
        seg.ReferencedSeriesSequence.append(of_series)
    items = [frame.DerivationImageSequence[0].SourceImageSequence[0] for frame in seg.PerFrameFunctionalGroupsSequence]
    shown = [slices[item.ReferencedSOPInstanceUID] for item in items]  # first, for segments share items
    for item, z in zip(items, shown, strict=True):
        item.update(_reference(source.images[z]))
        if source.frames[z] is not None:
            item.ReferencedFrameNumber = source.frames[z]


def _order(seg: Dataset) -> None:
    """Frames by segment, then along the cross product of rows and columns, which ITK takes for the third axis without
    a look at the other frames' positions; highdicom counts the other way."""
    frames = list(seg.PerFrameFunctionalGroupsSequence)
    axes = np.reshape(seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3))
    depths = np.cross(*axes) @ np.transpose([f.PlanePositionSequence[0].ImagePositionPatient for f in frames])
    segments = [f.SegmentIdentificationSequence[0].ReferencedSegmentNumber for f in frames]
    order = np.lexsort((depths, segments))
    counted = [f.FrameContentSequence[0].DimensionIndexValues for f in frames]
    seg.PixelData = pack_bits(seg.pixel_array[order])
    seg.PerFrameFunctionalGroupsSequence = [frames[k] for k in order]
    for frame, values in zip(seg.PerFrameFunctionalGroupsSequence, counted, strict=True):
        frame.FrameContentSequence[0].DimensionIndexValues = values


def _reference(image: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return item
