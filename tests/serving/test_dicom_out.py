"""DICOM out: read back by other readers and checked by other validators, from valid, awkward and real studies."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from lvray.cmr.archive import Member, folder_members, zip_members
from lvray.cmr.phantom.participant import participant
from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write_participant
from lvray.cmr.quality import Flag, words
from lvray.cmr.study import Cine, read_cine
from lvray.errors import Reason, StudyRefused
from lvray.estimate import Estimate, measure_contours, measure_overlays
from lvray.serving.seg import segmentation
from lvray.serving.sheet import sheet
from lvray.serving.source import UNDATED, dicom_bytes, read_source
from lvray.serving.sr import report

ACCEPTED = re.compile(
    "Missing attribute or value that would be needed to build DICOMDIR|"  # a study without date or id stays so
    "Retired Person Name form")  # a name that is one word, as Sunnybrook's are
"""Warnings of dciodvfy."""
PHANTOM = PhantomOptions(phases=2, slices=6, rows=64, columns=64)
SECRETS = ("Planted^Person", "9911223", "19550607")
NETWORK = {"kind": "seg", "recipe": "paper_seg", "weights": "0123456789abcdef"}
RIGHT, DOWN = (0.8, 0.6, 0.0), (-0.36, 0.48, -0.8)


@dataclass(frozen=True)
class Case:
    """A study read, its estimate, and both objects as files."""

    cine: Cine
    estimate: Estimate
    seg: bytes
    sr: bytes


def case(cine: Cine, estimate: Estimate) -> Case:
    source = read_source(cine, estimate)
    return Case(cine, estimate, dicom_bytes(segmentation(source, estimate)), dicom_bytes(report(source, estimate)))


def stack(right: Sequence[float] = RIGHT, down: Sequence[float] = DOWN, flipped: bool = False,
          spacing: tuple[float, float] = (1.5, 2.0), **more: Any) -> list[Dataset]:
    """A short axis of five slices at two phases, each slice a series, as UK Biobank's are."""
    normal, images = np.cross(right, down) * (-1 if flipped else 1), []
    for z in range(5):
        for p in range(2):
            ds = Dataset()
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, f"1.2.3.{z + 1}.{p + 1}"
            ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", f"1.2.3.{z + 1}", "1.2.4"
            ds.PatientName, ds.PatientID, ds.PatientBirthDate = SECRETS
            ds.Modality, ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber = "MR", "SAX", z + 1, p + 1
            ds.StudyDate = ds.ContentDate = "20200102"
            ds.StudyTime = ds.ContentTime = "101500"
            ds.TriggerTime, ds.NominalInterval = 40.0 * p, 80
            ds.ImagePositionPatient = [round(float(v), 6) for v in (12.5, -40, 33) - 9.0 * z * normal]
            ds.ImageOrientationPatient, ds.PixelSpacing = [*right, *down], list(spacing)
            ds.SliceThickness, ds.SpacingBetweenSlices, ds.Rows, ds.Columns = 6, 3, 20, 26
            ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
            ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
            ds.PixelData = (np.arange(20 * 26) + 1000 * z).astype("<u2").tobytes()
            for name, value in more.items():
                setattr(ds, name, value)
            images.append(ds)
    return images


def members(images: Sequence[Dataset]) -> list[Member]:
    def member(number: int, ds: Dataset) -> Member:
        out = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is invalid in them is meant
            ds.save_as(out, enforce_file_format=bool(ds.SOPClassUID))
        data = out.getvalue()
        return Member(number, len(data), lambda: io.BytesIO(data))

    return [member(number, ds) for number, ds in enumerate(images, 1)]


def estimate_of(cine: Cine, **more: Any) -> Estimate:
    """A mask that no turn or flip leaves as it is."""
    mask = np.zeros(cine.shape, np.uint8)
    mask[1:4, 4:12, 5:15] = 2
    mask[1:4, 6:10, 8:12] = 1
    mask[1, 3, 2:20], mask[3, 15, 7] = 2, 1
    return Estimate(**{
        "method": "ML4Hseg", "mass_g": 101.25, "interval_g": (90.0, 115.0), "interval_level": 0.9, "lvmi_g_m2": 55.5,
        "ed_phase": 1, "ed_instances": [1], "stack_instances": [1], "spacing_mm": cine.spacing, "slices": 3,
        "edv_ml": 123.5, "quality": ["few_slices"], "network": NETWORK, "mask": mask, "affine": cine.affine, **more})


def synthetic(images: Sequence[Dataset], **more: Any) -> Case:
    cine = read_cine(members(images))
    return case(cine, estimate_of(cine, **more))


STUDIES: dict[str, Callable[[], Case]] = {
    "oblique": lambda: synthetic(stack()),
    "anisotropic": lambda: synthetic(stack(spacing=(0.7, 3.1))),
    "flipped": lambda: synthetic(stack((-0.8, -0.6, 0.0), DOWN, flipped=True)),
    "upside down": lambda: synthetic(stack(RIGHT, (0.36, -0.48, 0.8), flipped=True)),
    "odd matrix": lambda: synthetic([_cropped(ds) for ds in stack()]),
}


def _cropped(ds: Dataset) -> Dataset:
    """Rows times columns is no multiple of 8: frames of bits begin within a byte."""
    ds.Rows, ds.Columns, ds.PixelData = 19, 25, ds.PixelData[:19 * 25 * 2] + b""
    return ds


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    known: dict[str, Case] = {}

    def get(name: str) -> Case:
        if name not in known:
            known[name] = (_phantom(tmp_path_factory.mktemp("ukb")) if name == "phantom" else _sunnybrook()
                           if name == "sunnybrook" else STUDIES[name]())
        return known[name]

    return get


def _phantom(folder: Path) -> Case:
    number = next(n for n in range(99) if participant(0, n, PHANTOM).person.inlinevf == "normal")
    cine = read_cine(zip_members(io.BytesIO(write_participant(folder, 0, number, PHANTOM).read_bytes())))
    return case(cine, measure_overlays(cine))


def _sunnybrook() -> Case:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "sunnybrook"
    if not folder.is_dir():
        pytest.skip("no real data: ../shared/data is not there")
    cine = read_cine(folder_members(folder / "dicom" / "SCD0000101"))
    return case(cine, measure_contours(cine, folder / "contours" / "SC-HF-I-1"))


every_study = pytest.mark.parametrize("name", ["phantom", "sunnybrook", *STUDIES])


def places(estimate: Estimate) -> NDArray[np.float64]:
    """Every voxel's centre in patient coordinates [Z, Y, X, 3]."""
    assert estimate.mask is not None
    index = np.moveaxis(np.indices(estimate.mask.shape), 0, -1)
    return index @ estimate.affine[:3, :3].T + estimate.affine[:3, 3]


def assert_equal_in_space(estimate: Estimate, array: NDArray[Any], to_index: NDArray[Any]) -> None:
    """array [K, J, I] holds the mask; to_index: patient mm (x, y, z, 1) to (k, j, i, 1)."""
    at = places(estimate) @ to_index[:3, :3].T + to_index[:3, 3]
    nearest = np.rint(at).astype(int)
    assert np.abs(at - nearest).max() < 0.02
    assert estimate.mask is not None
    assert array.shape == estimate.mask.shape
    assert np.array_equal(array[tuple(np.moveaxis(nearest, -1, 0))], estimate.mask)


@every_study
def test_highdicom_reads_the_same_mask_in_the_same_place(cases: Callable[[str], Case], name: str) -> None:
    found = cases(name)
    volume = hd.seg.Segmentation.from_dataset(pydicom.dcmread(io.BytesIO(found.seg))).get_volume(combine_segments=True)
    assert_equal_in_space(found.estimate, volume.array, np.linalg.inv(volume.affine))
    assert volume.spacing == pytest.approx(found.cine.spacing, rel=1e-5)


@every_study
def test_simpleitk_reads_the_same_mask_in_the_same_place(cases: Callable[[str], Case], name: str,
                                                         tmp_path: Path) -> None:
    """ITK takes origin, axes and pixels of a SEG, but no spacing: that is set from the header."""
    found = cases(name)
    (tmp_path / "seg.dcm").write_bytes(found.seg)
    image: Any = sitk.ReadImage(str(tmp_path / "seg.dcm"), imageIO="GDCMImageIO")
    measures = pydicom.dcmread(tmp_path / "seg.dcm").SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    image.SetSpacing([measures.PixelSpacing[1], measures.PixelSpacing[0], measures.SpacingBetweenSlices])
    pixels = sitk.GetArrayFromImage(image)
    pixels.reshape(-1)[pixels.size // 8 * 8:] = 0  # of a last byte that is not full GDCM makes what memory holds
    cavity, wall = np.split(pixels > 0, 2)
    to_place = np.eye(4)
    for column, step in enumerate(((0, 0, 1), (0, 1, 0), (1, 0, 0))):  # k, j, i
        to_place[:3, column] = np.subtract(image.TransformIndexToPhysicalPoint(step), image.GetOrigin())
    to_place[:3, 3] = image.GetOrigin()
    assert_equal_in_space(found.estimate, cavity + 2 * wall, np.linalg.inv(to_place))


def errors_and_warnings(file: bytes, folder: Path) -> list[str]:
    """What dciodvfy says of it, but for what is accepted."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("no dciodvfy: scripts/dev-setup installs it")
    (folder / "object.dcm").write_bytes(file)
    done = subprocess.run(["dciodvfy", "object.dcm"], cwd=folder, capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    assert any(line in ("Segmentation", "Comprehensive3DSR") for line in said), said
    return [line for line in said if line.startswith(("Error", "Warning")) and not ACCEPTED.search(line)]


@every_study
@pytest.mark.parametrize("kind", ["seg", "sr"])
def test_the_validator_finds_no_error(cases: Callable[[str], Case], name: str, kind: str, tmp_path: Path) -> None:
    assert errors_and_warnings(getattr(cases(name), kind), tmp_path) == []


@every_study
def test_dcmtk_reads_the_report(cases: Callable[[str], Case], name: str, tmp_path: Path) -> None:
    if shutil.which("dsrdump") is None:
        pytest.skip("no dsrdump: scripts/dev-setup installs dcmtk")
    (tmp_path / "sr.dcm").write_bytes(cases(name).sr)
    done = subprocess.run(["dsrdump", "+Pc", "sr.dcm"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert not re.search(r"^[EF]: ", done.stderr, re.M)
    mass = cases(name).estimate.mass_g
    assert f'(18087-7,LN,"Left Ventricle Mass")="{mass:.10g}" (g,UCUM,"gram")' in done.stdout


def items(sr: Dataset, value_type: str) -> list[Dataset]:
    found = [sr] if sr.get("ValueType") == value_type else []
    return found + [i for child in sr.get("ContentSequence", []) for i in items(child, value_type)]


def test_codes_are_those_of_the_published_lists(cases: Callable[[str], Case]) -> None:
    seg, sr = (pydicom.dcmread(io.BytesIO(b)) for b in (cases("oblique").seg, cases("oblique").sr))
    cavity, wall = seg.SegmentSequence

    def code(item: Dataset) -> tuple[str, str]:
        return item.CodeValue, item.CodingSchemeDesignator

    assert code(wall.SegmentedPropertyTypeCodeSequence[0]) == codes.cid12305.LeftVentricleMyocardium[:2]
    assert code(wall.SegmentedPropertyTypeCodeSequence[0]) == ("49848007", "SCT")
    assert code(cavity.SegmentedPropertyTypeCodeSequence[0]) == codes.cid7151.Blood[:2]
    assert code(cavity.SegmentedPropertyCategoryCodeSequence[0]) == codes.cid7150.BodySubstance[:2]
    assert {code(s.AnatomicRegionSequence[0]) for s in (cavity, wall)} == {codes.cid4.LeftVentricle[:2]}
    assert (cavity.SegmentLabel, wall.SegmentLabel) == ("LV cavity", "LV myocardium")
    numbers = [(code(n.ConceptNameCodeSequence[0]), code(n.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0]),
                float(n.MeasuredValueSequence[0].NumericValue)) for n in items(sr, "NUM")]
    mass, volume = codes.cid12203.LeftVentricleMass[:2], codes.cid12202.LeftVentricularEndDiastolicVolume[:2]
    assert (mass, volume) == (("18087-7", "LN"), ("18026-5", "LN"))
    assert numbers == [(mass, ("g", "UCUM"), 101.25),
                       (codes.cid225.RangeOfUpperMeasurementUncertainty[:2], ("g", "UCUM"), 13.75),
                       (codes.cid225.RangeOfLowerMeasurementUncertainty[:2], ("g", "UCUM"), 11.25),
                       (mass, ("g/m2", "UCUM"), 55.5), (volume, ("ml", "UCUM"), 123.5)]
    index, = items(items(sr, "NUM")[3], "CODE")
    assert code(index.ConceptNameCodeSequence[0]) == codes.DCM.Index[:2]
    assert code(index.ConceptCodeSequence[0]) == codes.cid3455.BSA[:2]


def test_what_a_valid_study_says_of_itself_is_kept(cases: Callable[[str], Case]) -> None:
    found = cases("oblique")
    seg, sr = (pydicom.dcmread(io.BytesIO(b)) for b in (found.seg, found.sr))
    for ds in (seg, sr):
        assert (ds.StudyInstanceUID, ds.PatientName, ds.PatientID, ds.PatientBirthDate) == ("1.2.3", *SECRETS)
        assert (ds.StudyDate, ds.ContentDate, ds.ContentTime[:6]) == ("20200102", "20200102", "101500")
    assert seg.FrameOfReferenceUID == "1.2.4"
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [*RIGHT, *DOWN]
    assert float(shared.PixelMeasuresSequence[0].SpacingBetweenSlices) == pytest.approx(9)
    assert float(shared.PixelMeasuresSequence[0].SliceThickness) == 6
    assert seg.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    assert "weights=0123456789abcdef" in str(
        seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters)
    assert len(seg.ReferencedSeriesSequence) == 5
    for frame in seg.PerFrameFunctionalGroupsSequence:
        z = int(frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID.split(".")[3]) - 1
        place = found.estimate.affine[:3] @ (z, 0, 0, 1)
        assert frame.PlanePositionSequence[0].ImagePositionPatient == pytest.approx(place, abs=1e-4)
    texts = [t.TextValue for t in items(sr, "TEXT")]
    assert "90% prediction interval of the manual LV mass: 90.0 to 115.0 g" in texts
    assert any("Research use only" in t for t in texts)
    reference = next(i for i in items(sr, "IMAGE") if "ReferencedSegmentNumber" in i.ReferencedSOPSequence[0])
    assert reference.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == seg.SOPInstanceUID


def test_a_network_without_a_mask(tmp_path: Path) -> None:
    """Nor can its interval, which the mass lies outside of, be told as distances from the mass."""
    cine = read_cine(members(stack()))
    estimate = estimate_of(cine, method="ML4Hreg", mask=None, edv_ml=None, interval_g=(110.0, 120.0))
    source = read_source(cine, estimate)
    with pytest.raises(StudyRefused) as refused:
        segmentation(source, estimate)
    assert refused.value.reason == Reason.NO_MASK
    sr = report(source, estimate)
    assert [float(n.MeasuredValueSequence[0].NumericValue) for n in items(sr, "NUM")] == [101.25, 55.5]
    assert len(items(sr, "IMAGE")) == 5
    assert errors_and_warnings(dicom_bytes(sr), tmp_path) == []


MENDS: dict[str, tuple[dict[str, Any], Flag]] = {
    "dates": ({"StudyDate": "20120000", "PatientBirthDate": "00000000", "ContentDate": ""}, Flag.DATES_MENDED),
    "time": ({"StudyTime": "256199"}, Flag.DATES_MENDED),
    "sex": ({"PatientSex": "W"}, Flag.TEXTS_MENDED),
    "long": ({"PatientID": "x" * 70}, Flag.TEXTS_MENDED),
    "study": ({"StudyInstanceUID": "1.02.3"}, Flag.UIDS_MENDED),
    "no frame of reference": ({"FrameOfReferenceUID": ""}, Flag.FRAME_OF_REFERENCE_MENDED),
    "invalid frame of reference": ({"FrameOfReferenceUID": "1.00.4"}, Flag.FRAME_OF_REFERENCE_MENDED),
    "control characters": ({"PatientName": "Planted\x01Phantom"}, Flag.TEXTS_MENDED),
    "several texts": ({"StudyDescription": "a\\b"}, Flag.TEXTS_MENDED),
    "no thickness": ({"SliceThickness": 0}, Flag.THICKNESS_MENDED),
    "axes": ({"ImageOrientationPatient": [0.8, 0.605, 0, -0.36, 0.48, -0.8]}, Flag.ORIENTATION_MENDED),
}


@pytest.mark.parametrize("what", MENDS)
def test_what_is_invalid_is_mended_and_told(what: str, tmp_path: Path) -> None:
    """And quoted in no warning, which would be an error here."""
    values, flag = MENDS[what]
    with warnings.catch_warnings(action="ignore"):
        spoilt = members(stack(**values))
    cine = read_cine(spoilt)
    estimate = estimate_of(cine)
    source = read_source(cine, estimate)
    assert source.mends == {flag}
    seg, sr = segmentation(source, estimate), report(source, estimate)
    assert any(words(flag) in t.TextValue for t in items(sr, "TEXT"))
    for name, value in values.items():
        assert value not in (str(seg.get(name, "")) or None, str(sr.get(name, "")) or None), name
    for ds in (seg, sr):
        assert errors_and_warnings(dicom_bytes(ds), tmp_path) == []


def test_a_class_that_the_file_meta_alone_names(tmp_path: Path) -> None:
    images = stack(SOPClassUID="")
    for image in images:
        image.preamble, image.file_meta.MediaStorageSOPClassUID = bytes(128), MRImageStorage
    cine = read_cine(members(images))
    assert {f.sop_class for row in cine.frames for f in row if f} == {MRImageStorage}
    estimate = estimate_of(cine)
    source = read_source(cine, estimate)
    for ds in (segmentation(source, estimate), report(source, estimate)):
        assert errors_and_warnings(dicom_bytes(ds), tmp_path) == []


def test_the_real_studys_mends(cases: Callable[[str], Case]) -> None:
    found = cases("sunnybrook")
    source = read_source(found.cine, found.estimate)
    assert source.mends == {Flag.FRAME_OF_REFERENCE_MENDED, Flag.UIDS_MENDED, Flag.DATES_MENDED}
    assert source.made == UNDATED
    seg = pydicom.dcmread(io.BytesIO(found.seg))
    assert (seg.StudyDate, seg.PatientBirthDate, seg.PatientID) == ("", "", "SCD0000101")


def test_slices_of_multi_frame_files(tmp_path: Path) -> None:
    """An object for each phase, as a legacy converter makes them."""
    images = stack()
    for ds in images:
        ds.SeriesInstanceUID, ds.ImageType = "1.2.3.9", ["ORIGINAL", "PRIMARY", "M", "ND"]
        ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "A^B", "", ""
        ds.StudyID = ds.AccessionNumber = ds.ReferringPhysicianName = ds.Manufacturer = ""
        ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate
        ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime
    objects = [hd.legacy.LegacyConvertedEnhancedMRImage(images[p::2], "1.2.3.10", p + 1, f"1.2.3.10.{p + 1}", p + 1)
               for p in range(2)]
    classic, enhanced = read_cine(members(images)), read_cine(members(objects))
    assert np.allclose(classic.affine, enhanced.affine)
    estimate = estimate_of(enhanced)
    source = read_source(enhanced, estimate)
    seg = segmentation(source, estimate)
    assert [(i.ReferencedSOPInstanceUID, sorted(i.ReferencedFrameNumber)) for i in seg.SourceImageSequence] == [
        ("1.2.3.10.1", [1, 2, 3, 4, 5])]
    for frame in seg.PerFrameFunctionalGroupsSequence:
        item = frame.DerivationImageSequence[0].SourceImageSequence[0]
        shown = objects[0].PerFrameFunctionalGroupsSequence[int(item.ReferencedFrameNumber) - 1]
        assert item.ReferencedSOPClassUID == objects[0].SOPClassUID
        assert frame.PlanePositionSequence[0].ImagePositionPatient == pytest.approx(
            shown.PlanePositionSequence[0].ImagePositionPatient)
    volume = hd.seg.Segmentation.from_dataset(
        pydicom.dcmread(io.BytesIO(dicom_bytes(seg)))).get_volume(combine_segments=True)
    assert_equal_in_space(estimate, volume.array, np.linalg.inv(volume.affine))
    for ds in (seg, report(source, estimate)):
        assert errors_and_warnings(dicom_bytes(ds), tmp_path) == []


def test_the_same_upload_gives_the_same_bytes() -> None:
    first, again, other = synthetic(stack()), synthetic(stack()), synthetic(stack(), mass_g=99.0)
    assert (first.seg, first.sr) == (again.seg, again.sr)
    assert pydicom.dcmread(io.BytesIO(other.sr)).SOPInstanceUID != pydicom.dcmread(io.BytesIO(first.sr)).SOPInstanceUID


def test_a_patient_is_named_in_the_objects_alone(caplog: pytest.LogCaptureFixture,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    """One word is a name that highdicom would print a warning with."""
    cine = read_cine(members(stack(PatientName="Planted")))
    estimate = estimate_of(cine)
    with warnings.catch_warnings(record=True) as warned, caplog.at_level("DEBUG"):
        warnings.simplefilter("always")
        source = read_source(cine, estimate)
        seg, sr = (dicom_bytes(make(source, estimate)) for make in (segmentation, report))
        picture = sheet(cine, estimate)
    said = "".join((caplog.text, *capsys.readouterr(), *(str(w.message) for w in warned), repr(source), repr(estimate)))
    for secret in ("Planted", *SECRETS[1:]):
        assert secret in seg.decode("latin-1")
        assert secret in sr.decode("latin-1")
        assert secret not in said
        assert secret not in picture.decode("latin-1")


def test_an_incomplete_phase_is_refused() -> None:
    cine = read_cine(members([ds for ds in stack() if ds.SOPInstanceUID != "1.2.3.3.1"]))
    with pytest.raises(StudyRefused) as refused:
        read_source(cine, estimate_of(cine, ed_phase=next(p for p in (1, 2) if not cine.complete(p - 1))))
    assert refused.value.reason == Reason.MISSING_PHASE


def test_the_sheet_is_a_picture_that_depends_on_the_mask(cases: Callable[[str], Case]) -> None:
    found = cases("oblique")
    picture = sheet(found.cine, found.estimate)
    assert picture.startswith(b"\x89PNG")
    assert picture == sheet(found.cine, found.estimate)
    assert picture != sheet(found.cine, replace(found.estimate, mask=None))
    assert picture != sheet(found.cine, replace(found.estimate, quality=["few_slices", "mask_at_end"]))
