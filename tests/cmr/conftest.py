"""Studies to read: small synthetic DICOM, phantoms, and real Sunnybrook hearts where ../shared is there."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from lvray.cmr.archive import Member, folder_members, zip_members
from lvray.cmr.dicom import Frame
from lvray.cmr.phantom.participant import Participant, participant
from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write_participant
from lvray.cmr.study import Cine, read_cine
from lvray.settings import Quality

OPTIONS = PhantomOptions(phases=4, slices=7, rows=80, columns=72)
RIGHT, DOWN = np.array([0.8, 0.6, 0.0]), np.array([-0.36, 0.48, -0.8])
"""Rows and columns of the synthetic stacks: oblique, as a short axis lies."""
SMALL = Quality(stack_slices=(2, 16))
"""A stack of four slices is usual here."""

Images = Iterable[Dataset | bytes]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data: ../shared/data is not there")
    return folder


@pytest.fixture(scope="session")
def sunnybrook(shared: Path) -> Path:
    return shared / "sunnybrook"


@pytest.fixture(scope="session")
def real(sunnybrook: Path) -> Callable[[str], Cine]:
    """The cine of a Sunnybrook patient, read once."""
    cines: dict[str, Cine] = {}

    def read(name: str) -> Cine:
        if name not in cines:
            cines[name] = read_cine(folder_members(sunnybrook / "dicom" / name))
        return cines[name]

    return read


def stack(slices: int = 4, phases: int = 3, shape: tuple[int, int] = (20, 24),
          spacing: tuple[float, float] = (1.5, 2.0), pitch: float = 10.0, description: str = "SAX cine",
          number: int = 5) -> list[Dataset]:
    """One series of classic MR images, base to apex, phase after phase: its pixels tell slice and phase."""
    normal = np.cross(RIGHT, DOWN)
    series, images = generate_uid(), []
    for z in range(slices):
        for p in range(phases):
            ds = Dataset()
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", series
            ds.FrameOfReferenceUID = generate_uid()
            ds.Modality, ds.PatientID, ds.SeriesDescription, ds.SeriesNumber = "MR", "one", description, number
            ds.InstanceNumber = z * phases + p + 1
            ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20200102"
            ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = f"12{number:02}{z:02}"
            ds.TriggerTime, ds.NominalInterval = 40.0 * p, 40 * phases
            ds.ImagePositionPatient = [round(float(v), 6) for v in -pitch * z * normal]
            ds.ImageOrientationPatient = [*RIGHT, *DOWN]
            ds.PixelSpacing = list(spacing)
            ds.SliceThickness, ds.SliceLocation = 6, 3 * z
            ds.Rows, ds.Columns = shape
            ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
            ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
            ds.PixelData = (np.arange(shape[0] * shape[1]) + 1000 * z + 10000 * p).astype("<u2").tobytes()
            images.append(ds)
    return images


def draw(ds: Dataset, ring: NDArray[np.bool_]) -> None:
    """An overlay plane in group 6000, least significant bit first."""
    data = np.packbits(ring, bitorder="little").tobytes()
    for element, vr, value in ((0x0010, "US", ring.shape[0]), (0x0011, "US", ring.shape[1]), (0x0040, "CS", "G"),
                               (0x0050, "SS", [1, 1]), (0x0100, "US", 1), (0x0102, "US", 0),
                               (0x3000, "OW", data + b"\0" * (len(data) % 2))):
        ds.add_new((0x6000, element), vr, value)


def file_bytes(ds: Dataset) -> bytes:
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def member(data: bytes, number: int = 1, dicom_name: bool = False) -> Member:
    return Member(number, len(data), lambda: io.BytesIO(data), dicom_name)


def members(images: Images) -> list[Member]:
    return [member(ds if isinstance(ds, bytes) else file_bytes(ds), n) for n, ds in enumerate(images, 1)]


def square(shape: tuple[int, int], low: int, high: int) -> NDArray[np.bool_]:
    """The outline, one pixel thin, of a square from pixel `low` to `high` in both directions."""
    ring = np.zeros(shape, bool)
    ring[[low, high], low:high + 1] = ring[low:high + 1, [low, high]] = True
    return ring


class Make:
    """The helpers above, for test modules: pytest's importlib mode lets none of them import this one."""

    stack = staticmethod(stack)
    draw = staticmethod(draw)
    bytes = staticmethod(file_bytes)
    member = staticmethod(member)
    members = staticmethod(members)
    square = staticmethod(square)

    @staticmethod
    def cine(images: Images, quality: Quality = SMALL) -> Cine:
        return read_cine(members(images), quality)

    @staticmethod
    def frame(instance: int = 1, trigger: float | None = None, interval: float | None = None,
              temporal: int | None = None, series: int = 1, uid: str = "1") -> Frame:
        return Frame(member=member(b""), index=0, instance=instance, sop_class="", uid=uid, series=str(series),
                     frame_of_reference="", series_number=series, description="", acquired="", patient="",
                     identity=("", "", "", ""), shape=(4, 4), position=(0.0, 0.0, 0.0),
                     orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), spacing=(1.0, 1.0), trigger=trigger, interval=interval,
                     temporal_index=temporal, has_overlay=False, person=(None, None, None), phantom=False)


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Participant, Cine]]:
    """The first participant with InlineVF outlines and just these quirks, and the cine read from the zip."""
    folder = tmp_path_factory.mktemp("phantom")
    known: dict[frozenset[str], tuple[Participant, Cine]] = {}

    def read(*quirks: str) -> tuple[Participant, Cine]:
        wanted = frozenset(quirks)
        if wanted not in known:
            subjects = (participant(0, number, OPTIONS) for number in range(500))
            subject = next(s for s in subjects if s.quirks == wanted and s.person.inlinevf == "normal")
            data = write_participant(folder, 0, subject.number, OPTIONS).read_bytes()
            known[wanted] = subject, read_cine(zip_members(io.BytesIO(data)))
        return known[wanted]

    return read
