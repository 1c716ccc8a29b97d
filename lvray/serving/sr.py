"""An estimate as a DICOM structured report (PS3.16, TID 1500), by highdicom.

LV mass and its index, and the cavity's volume at end diastole, each with the segment that it comes from, or with the
images alone where a network tells the mass without a mask. Codes: CID 12203 (mass), 12202 (volume), 3455 (index),
225 (uncertainty); units: UCUM.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from highdicom import UID
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    NumContentItem,
    ObservationContext,
    ObserverContext,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import SegmentationStorage

from lvray.cmr.quality import Flag, words
from lvray.errors import Reason, StudyRefused
from lvray.estimate import Estimate
from lvray.serving.seg import LEFT_VENTRICLE, LV_MYOCARDIUM, MANUFACTURER, RESEARCH, SEGMENTS, device, parameters
from lvray.serving.source import Source, derived, nameless, settled

GRAM, GRAM_PER_M2, ML = Code("g", "UCUM", "gram"), Code("g/m2", "UCUM", "gram per square meter"), \
    Code("ml", "UCUM", "milliliter")
SERIES = 9002
DIGITS = 10
"""Significant ones of a value: a DS has room for 16 characters."""


def report(source: Source, estimate: Estimate) -> Dataset:
    """The measurements; a mask's groups refer to the object that `segmentation` makes of the same source and estimate.

    StudyRefused: an estimate without any measurement.
    """
    uid = source.uid(estimate, "SR")
    groups: list[Any] = list(_of_images(source, estimate, uid) if estimate.mask is None
                             else _of_segments(source, estimate))
    if not groups:
        raise StudyRefused(Reason.NO_OUTLINES, "there is no mass and no volume to report")
    for text in _comments(source, estimate):
        groups[0][0].ContentSequence.append(TextContentItem(
            codes.DCM.Comment, text, relationship_type=RelationshipTypeValues.CONTAINS))
    observer = DeviceObserverIdentifyingAttributes(
        uid=UID(derived("device", *device(estimate).values())), name="lvray", manufacturer_name=MANUFACTURER,
        model_name=device(estimate)["manufacturer_model_name"],
        serial_number=device(estimate)["device_serial_number"])
    content = MeasurementReport(
        observation_context=ObservationContext(ObserverContext(codes.DCM.Device, observer)),
        procedure_reported=codes.SCT.MagneticResonanceImagingOfHeart, imaging_measurements=groups)
    sr = Comprehensive3DSR(
        evidence=_evidence(source, estimate), content=content[0], series_instance_uid=derived(uid, "series"),
        series_number=SERIES, series_description=f"LV mass - {RESEARCH}", sop_instance_uid=uid, instance_number=1,
        is_complete=True, is_final=False, is_verified=False, specific_character_set="ISO_IR 192",
        content_date=source.made.date(), content_time=source.made.time(), **device(estimate))
    return settled(sr, source)


def _of_segments(source: Source, estimate: Estimate) -> Iterator[VolumetricROIMeasurementsAndQualitativeEvaluations]:
    images = [SourceImageForSegmentation(i.SOPClassUID, i.SOPInstanceUID, numbers) for i, numbers in source.files()]
    seg = source.uid(estimate, "SEG")
    (cavity, cavity_name, *_), (wall, wall_name, *_) = SEGMENTS
    for number, name, finding, measured in ((wall, wall_name, LV_MYOCARDIUM, list(_masses(estimate))),
                                            (cavity, cavity_name, LEFT_VENTRICLE, list(_volumes(estimate)))):
        if measured:
            yield VolumetricROIMeasurementsAndQualitativeEvaluations(
                TrackingIdentifier(UID(derived(seg, name)), name), finding_type=finding, measurements=measured,
                referenced_segment=ReferencedSegment(SegmentationStorage, seg, number, source_images=images),
                finding_sites=[FindingSite(LEFT_VENTRICLE)], algorithm_id=_algorithm(estimate))


def _of_images(source: Source, estimate: Estimate, uid: str) -> Iterator[MeasurementsAndQualitativeEvaluations]:
    images = [SourceImageForMeasurementGroup(i.SOPClassUID, i.SOPInstanceUID, numbers) for i, numbers in source.files()]
    yield MeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(UID(derived(uid, "LV mass")), "LV mass"), finding_type=LV_MYOCARDIUM,
        measurements=list(_masses(estimate)), finding_sites=[FindingSite(LEFT_VENTRICLE)], source_images=images,
        algorithm_id=_algorithm(estimate))


def _masses(estimate: Estimate) -> Iterator[Measurement]:
    """LV mass, with its interval as distances from it where it lies within, and the same for body surface area."""
    if estimate.mass_g is None:
        return
    mass = Measurement(codes.LN.LeftVentricleMass, _short(estimate.mass_g), GRAM)
    if estimate.interval_g is not None:
        low, high = estimate.interval_g
        if low <= estimate.mass_g <= high:
            for name, value in ((codes.cid225.RangeOfUpperMeasurementUncertainty, high - estimate.mass_g),
                                (codes.cid225.RangeOfLowerMeasurementUncertainty, estimate.mass_g - low)):
                _add(mass, NumContentItem(name, _short(value), GRAM,
                                          relationship_type=RelationshipTypeValues.HAS_PROPERTIES))
    yield mass
    if estimate.lvmi_g_m2 is not None:
        index = Measurement(codes.LN.LeftVentricleMass, _short(estimate.lvmi_g_m2), GRAM_PER_M2)
        _add(index, CodeContentItem(codes.DCM.Index, codes.cid3455.BSA,
                                    relationship_type=RelationshipTypeValues.HAS_CONCEPT_MOD))
        yield index


def _volumes(estimate: Estimate) -> Iterator[Measurement]:
    if estimate.edv_ml is not None:
        yield Measurement(codes.LN.LeftVentricularEndDiastolicVolume, _short(estimate.edv_ml), ML)


def _add(measurement: Measurement, item: Dataset) -> None:
    value = measurement[0]
    value.ContentSequence = [*value.get("ContentSequence", []), item]


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _comments(source: Source, estimate: Estimate) -> Iterator[str]:
    yield f"{RESEARCH}."
    if estimate.interval_g is not None and estimate.interval_level is not None:
        low, high = estimate.interval_g
        yield (f"{estimate.interval_level:.0%} prediction interval of the manual LV mass: {low:.1f} to {high:.1f} g")
    yield f"At end diastole, phase {estimate.ed_phase}; {estimate.slices} slices"
    for flag in sorted({*estimate.quality, *source.mends}):
        yield f"Quality, {flag}: {words(Flag(flag))}"


def _algorithm(estimate: Estimate) -> AlgorithmIdentification:
    told = [f"{name}: {value}" for name, value in parameters(estimate).items()]
    return AlgorithmIdentification(f"lvray {estimate.method}", estimate.versions["lvray"], told or None)


def _evidence(source: Source, estimate: Estimate) -> list[Dataset]:
    """What the report refers to: the images' files, and the segmentation where there is a mask."""
    evidence = [nameless(image) for image, _ in source.files()]
    if estimate.mask is not None:
        seg = Dataset()
        seg.SOPClassUID, seg.SOPInstanceUID = SegmentationStorage, source.uid(estimate, "SEG")
        seg.StudyInstanceUID = evidence[0].StudyInstanceUID
        seg.SeriesInstanceUID = derived(seg.SOPInstanceUID, "series")
        evidence.append(seg)
    return evidence
