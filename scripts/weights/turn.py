"""A study as another technician would have planned it: turned or mirrored in its plane, and its files say so."""

from __future__ import annotations

import io
import math
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.valuerep import format_number_as_ds
from scipy.ndimage import affine_transform

from lvray.cmr.archive import Member, folder_members, zip_members
from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write_participant
from lvray.cmr.study import read_cine
from lvray.estimate import predict
from lvray.nets.predict import Predictor
from scripts.weights.patients import FOLDER


def turned(file: bytes, degrees: float, mirror: bool) -> bytes:
    """A DICOM file of square pixels, its columns in reverse order if `mirror`, then turned about its middle, in a
    picture as large as all of it needs; pixels between others by cubic splines. Position and orientation: PS3.3,
    C.7.6.2."""
    ds = pydicom.dcmread(io.BytesIO(file))
    pixels, at = ds.pixel_array, np.array(ds.ImagePositionPatient, float)
    axes = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)[::-1] * float(ds.PixelSpacing[0])
    angle, middle = math.radians(degrees), (np.array(pixels.shape) - 1) / 2
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turn = turn @ np.diag([1, -1 if mirror else 1])
    size = np.ceil(np.abs(turn.T) @ pixels.shape - 1e-6).astype(int)
    first = middle - turn @ ((size - 1) / 2)
    drawn = affine_transform(pixels.astype(float), turn, first, tuple(size), order=3)
    low, high = np.iinfo(pixels.dtype).min, pixels.max()
    ds.set_pixel_data(drawn.round().clip(low, high).astype(pixels.dtype), ds.PhotometricInterpretation, ds.BitsStored)
    down, right = turn.T @ axes / float(ds.PixelSpacing[0])
    ds.ImagePositionPatient = _decimals(at + first @ axes)
    ds.ImageOrientationPatient = _decimals(np.concatenate([right, down]))
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()


def _decimals(values: np.ndarray) -> list[str]:
    return [format_number_as_ds(float(value)) for value in values]


def changes(predictor: Predictor, seed: int, many: int) -> Iterator[tuple[str, float]]:
    """By how much the grams change, as a share, when a study is turned by any angle, half of the times mirrored too: of
    so many phantoms of few phases, and of each Sunnybrook study in DICOM, where they are, so many times."""
    r = np.random.default_rng([seed, 11])
    with tempfile.TemporaryDirectory() as folder:
        for number in range(many):
            file = write_participant(Path(folder), seed, number, PhantomOptions(phases=4))
            with file.open("rb") as opened:
                yield "phantom", _change(predictor, zip_members(opened), r)
            file.unlink()
    for study in sorted(FOLDER.glob("dicom/*")):
        for _ in range(many):
            yield study.name, _change(predictor, folder_members(study), r)


def _change(predictor: Predictor, members: list[Member], r: np.random.Generator) -> float:
    degrees, mirror = float(r.uniform(-180, 180)), bool(r.integers(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # UIDs with leading zeros
        as_it_was, moved = (predict(read_cine(files), predictor).mass_g for files in (
            members, [_moved(member, degrees, mirror) if member.dicom_name else member for member in members]))
    assert as_it_was is not None
    assert moved is not None
    return moved / as_it_was - 1


def _moved(member: Member, degrees: float, mirror: bool) -> Member:
    with member.open() as file:
        blob = turned(file.read(), degrees, mirror)
    return replace(member, size=len(blob), open=lambda: io.BytesIO(blob), peek=None)
