from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from highdicom.spatial import get_series_volume_positions
from numpy.typing import NDArray

from lvray.cmr.geometry import TOWARD_BASE, Turn, Volume, canonical, tilt
from lvray.cmr.study import Cine

TURNS = [Turn(*flags) for flags in itertools.product((False, True), repeat=3)]
SHAPE = (3, 4, 5)


def affine(angle: float, mirrored: bool = False) -> NDArray[np.float64]:
    """Of a short-axis stack whose rows and columns are turned by an angle in degrees; base to apex."""
    z = -TOWARD_BASE
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    out = np.eye(4)
    out[:3, 0], out[:3, 1], out[:3, 2], out[:3, 3] = 10 * z, 1.5 * (c * y - s * x), 2.0 * (c * x + s * y), (1, 2, 3)
    if mirrored:
        out[:3, 2] *= -1
    return out


def axes(a: NDArray[np.float64]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = a[:3, :3] / np.linalg.norm(a[:3, :3], axis=0)
    return out


@pytest.mark.parametrize("turn", TURNS)
def test_a_turn_loses_nothing_and_moves_points_with_the_array(turn: Turn) -> None:
    image = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    before = Volume(image, (10.0, 1.5, 2.0), affine(20), 0)
    after = before.turned(turn)
    assert np.array_equal(turn.undo(after.image), image)
    for z, y, x in np.ndindex(SHAPE):
        to_y, to_x = (int(v) for v in turn.apply_point((y, x), SHAPE))
        assert after.image[z, to_y, to_x] == image[z, y, x]
        assert after.affine @ (z, to_y, to_x, 1) == pytest.approx(before.affine @ (z, y, x, 1))
    assert after.spacing == pytest.approx(np.linalg.norm(after.affine[:3, :3], axis=0))
    assert after.image.flags.c_contiguous


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("angle", range(-170, 190, 20))
def test_canonical_is_right_handed_and_idempotent(angle: float, mirrored: bool) -> None:
    a = affine(angle, mirrored)
    b = canonical(a).apply_affine(a, SHAPE)
    z, y, x = axes(b).T
    assert np.cross(x, y) @ -z == pytest.approx(1)
    assert x @ (1, 0, 0) >= abs(y @ (1, 0, 0))
    assert y @ (0, 0, -1) > 0
    assert canonical(b) == Turn(False, False, False)


def test_two_real_patients_come_out_alike(real: Callable[[str], Cine]) -> None:
    seen, before = [], []
    for name in ("SCD0000101", "SCD0000201", "SCD0000501"):
        cine = real(name)
        before.append(axes(cine.affine))
        seen.append(axes(canonical(cine.affine).apply_affine(cine.affine, cine.shape)))
    assert (before[0] * before[1]).sum(0)[1] < 0.5  # about 90 degrees apart as they were scanned
    for a, b in itertools.combinations(seen, 2):
        assert ((a * b).sum(0) > np.cos(np.radians(45))).all()


def test_the_affine_maps_voxels_to_where_the_files_say(make: Any) -> None:
    images = make.stack(slices=3, phases=2)
    cine = make.cine(images)
    volume = cine.volume(1)
    for z, ds in enumerate(images[1::2]):
        corner, (dy, dx) = np.array(ds.ImagePositionPatient, float), ds.PixelSpacing
        right, down = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)
        assert cine.affine @ (z, 0, 0, 1) == pytest.approx([*corner, 1])
        assert cine.affine @ (z, 7, 11, 1) == pytest.approx([*(corner + 7 * dy * down + 11 * dx * right), 1])
        assert volume.image[z, 7, 11] == ds.pixel_array[7, 11]


def test_the_pitch_is_highdicoms_for_one_phase(real: Callable[[str], Cine], sunnybrook: Path) -> None:
    for name, phase in (("SCD0000101", 18), ("SCD0000201", 0), ("SCD0000501", 1)):
        cine = real(name)
        frames = [row[phase] for row in cine.frames]
        images = [pydicom.dcmread(sunnybrook / "dicom" / name / f"{f.instance}.dcm") for f in frames if f]
        pitch, places = get_series_volume_positions(images)
        assert pitch == pytest.approx(cine.spacing[0], abs=1e-3)
        assert places is not None
        assert sorted(places) in (places, places[::-1])


def test_real_voxels_lie_where_the_files_say(real: Callable[[str], Cine], sunnybrook: Path) -> None:
    cine = real("SCD0000101")
    for z, (first, *_) in enumerate(cine.frames):
        assert first is not None
        ds = pydicom.dcmread(sunnybrook / "dicom" / "SCD0000101" / f"{first.instance}.dcm", stop_before_pixels=True)
        assert (cine.affine @ (z, 0, 0, 1))[:3] == pytest.approx(np.array(ds.ImagePositionPatient, float), abs=0.01)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("angle", range(-170, 190, 20))
def test_the_tilt_is_what_the_canonical_orientation_leaves_open(angle: float, mirrored: bool) -> None:
    a = affine(angle, mirrored)
    b = canonical(a).apply_affine(a, SHAPE)
    assert abs(np.degrees(tilt(b))) <= 45
    _, y, x = axes(b).T
    left = np.cos(tilt(b)) * x + np.sin(tilt(b)) * y
    upright = canonical(affine(0)).apply_affine(affine(0), SHAPE)
    _, y, x = axes(upright).T
    assert left == pytest.approx(np.cos(tilt(upright)) * x + np.sin(tilt(upright)) * y)


def test_a_plane_across_left_has_no_tilt() -> None:
    assert tilt(np.diag([10.0, 1.5, 1.5, 1.0])) == 0
