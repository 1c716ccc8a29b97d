"""DICOM files as a Siemens Aera writes them (classic MR Image Storage, explicit VR little endian)."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from lvray.cmr.phantom.people import Person
from lvray.cmr.phantom.scan import Plane, Scan


def uid(*parts: object) -> UID:
    """A UID under 2.25 made from the parts (DICOM PS3.5 B.2: the decimal form of a 128-bit number)."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def study(who: Person, view: Scan, key: str, phases: int) -> Dataset:
    """What every image of a study shares. key: a string that makes the study's UIDs."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "RETRO", "NORM", "DIS2D"]
    ds.SOPClassUID = MRImageStorage
    for name in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(ds, name, who.visit.strftime("%Y%m%d"))
    ds.StudyTime = "093000.000000"
    ds.AccessionNumber = ""
    ds.Modality = "MR"
    ds.Manufacturer = "SIEMENS"
    ds.StudyDescription = "Heart^UKB"
    ds.ManufacturerModelName = "Aera"
    ds.ReferringPhysicianName = ""
    ds.QualityControlImage = "YES"
    ds.PatientName = who.name
    ds.PatientID = str(who.eid)
    ds.PatientBirthDate = who.birth.strftime("%Y%m%d")
    ds.PatientSex = who.sex
    ds.PatientSize = f"{who.height_cm / 100:.3f}"
    ds.PatientWeight = f"{who.weight_kg:.1f}"
    ds.ScanningSequence = "GR"
    ds.SequenceVariant = ["SK", "SS", "OSP"]
    ds.ScanOptions = ["CT"]
    ds.MRAcquisitionType = "2D"
    ds.SequenceName = "*tfi2d1_12"
    ds.RepetitionTime = "32.64"
    ds.EchoTime = "1.1"
    ds.MagneticFieldStrength = "1.5"
    ds.SpacingBetweenSlices = "10"
    ds.SoftwareVersions = "syngo MR D13A"
    ds.NominalInterval = str(round(60000 / who.heart_rate))
    ds.CardiacNumberOfImages = str(phases)
    ds.FlipAngle = "80"
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = uid(key)
    ds.StudyID = "1"
    ds.FrameOfReferenceUID = uid(key, "frame of reference")
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = view.rows, view.columns
    ds.PixelSpacing = [f"{view.pixel_mm:.4f}"] * 2
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def series(ds: Dataset, description: str, number: int, key: str, thickness_mm: float) -> None:
    """Turn the dataset to another series, taken 20 s after the one of the number before."""
    clock = f"{timedelta(hours=9, minutes=35, seconds=20 * number)}".replace(":", "").zfill(6)
    ds.SeriesDescription = ds.ProtocolName = description
    ds.SeriesNumber = str(number)
    ds.SeriesInstanceUID = uid(key, "series", number)
    ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = f"{clock}.000000"
    ds.SliceThickness = f"{thickness_mm:g}"


def place(ds: Dataset, view: Scan, plane: Plane) -> None:
    """ImagePositionPatient, ImageOrientationPatient and SliceLocation (DICOM PS3.3 C.7.6.2) of a plane."""
    axes = np.stack([plane.right, plane.down]) / view.pixel_mm @ view.axes
    corner = view.patient(plane.origin)
    ds.ImagePositionPatient = [f"{v:.6f}" for v in corner]
    ds.ImageOrientationPatient = [f"{v:.8f}" for v in axes.ravel()]
    ds.SliceLocation = f"{float(np.cross(axes[0], axes[1]) @ corner):.6f}"


def image(ds: Dataset, pixels: NDArray[np.uint16], instance: int, trigger_ms: float,
          drawn: NDArray[np.bool_] | None = None) -> tuple[str, bytes]:
    """SOP Instance UID and file of one image; drawn: an overlay [rows, columns] or None."""
    ds.InstanceNumber = str(instance)
    ds.TriggerTime = f"{trigger_ms:.1f}"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid(ds.SeriesInstanceUID, instance)
    ds.SmallestImagePixelValue, ds.LargestImagePixelValue = int(pixels.min()), int(pixels.max())
    ds.PixelData = pixels.astype("<u2").tobytes()
    if drawn is not None:
        _overlay(ds, drawn)
    out = BytesIO()
    dcmwrite(out, ds, enforce_file_format=True)
    if drawn is not None:
        for element in list(ds.group_dataset(0x6000)):
            del ds[element.tag]
    return str(ds.SOPInstanceUID), out.getvalue()


def _overlay(ds: Dataset, drawn: NDArray[np.bool_]) -> None:
    """An overlay plane in group 6000 (DICOM PS3.3 C.9.2): one bit a pixel, least significant first, even length."""
    packed = np.packbits(drawn, bitorder="little").tobytes()
    rows, columns = drawn.shape
    for element, vr, value in ((0x0010, "US", rows), (0x0011, "US", columns), (0x0015, "IS", "1"), (0x0040, "CS", "G"),
                               (0x0050, "SS", [1, 1]), (0x0100, "US", 1), (0x0102, "US", 0),
                               (0x3000, "OW", packed + b"\0" * (len(packed) % 2))):
        ds.add_new((0x6000, element), vr, value)
