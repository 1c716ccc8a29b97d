from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from lvray.cmr.generated import anatomy, contrast, curves, stack
from lvray.cmr.generated.anatomy import KINDS, Kind
from lvray.cmr.generated.sample import Sample, sample
from lvray.cmr.geometry import Turn, canonical
from lvray.cmr.mass import CAVITY, MYOCARDIUM, cavity_ml, grams
from lvray.cmr.phantom.people import rng

HEARTS = 50


@pytest.fixture(scope="module")
def hearts() -> list[Sample]:
    return [sample(3, number) for number in range(HEARTS)]


def rims(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What lies beside the cavity's pixels, in the four directions, and is not cavity."""
    cavity = np.pad(plane == CAVITY, 1)
    ring = np.zeros_like(cavity)
    for axis in (0, 1):
        for step in (1, -1):
            ring |= np.roll(cavity, step, axis)
    return np.asarray(np.pad(plane, 1)[ring & ~cavity])


def test_a_number_gives_the_same_bytes_whatever_was_made_before() -> None:
    first, other, again = sample(5, 7), sample(5, 8), sample(5, 7)
    for name in ("image", "mask", "affine"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert (first.spacing, first.heart_yx, first.kind) == (again.spacing, again.heart_yx, again.kind)
    assert first.image.tobytes() != other.image.tobytes()
    assert first.image.tobytes() != sample(6, 7).image.tobytes()


def test_a_process_of_more_threads_gives_the_same_bytes() -> None:
    code = ("from lvray.cmr.generated.sample import sample; import hashlib;"
            "print(hashlib.sha256(b''.join(sample(5, n).image.tobytes() for n in range(3))).hexdigest())")
    said = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                           env={**os.environ, "OMP_NUM_THREADS": threads}).stdout for threads in ("1", "2")}
    here = hashlib.sha256(b"".join(sample(5, number).image.tobytes() for number in range(3))).hexdigest()
    assert said == {f"{here}\n"}


def test_images_are_what_a_row_and_a_box_can_take(hearts: list[Sample]) -> None:
    for heart in hearts:
        assert heart.image.dtype == np.int16
        assert heart.mask.dtype == np.uint8
        assert heart.mask.shape == heart.image.shape
        assert 5 <= len(heart.image) <= stack.MOST_SLICES
        assert set(heart.image.shape[1:]) <= set(stack.SIDES.tolist())
        assert heart.image.min() >= 0
        assert all(len(np.unique(plane)) > 16 for plane in heart.image)
        assert all(0 <= at < n for at, n in zip(heart.heart_yx, heart.image.shape[1:], strict=True))


def test_spacings_keep_to_their_ranges_and_fill_them(hearts: list[Sample]) -> None:
    pitch, dy, dx = np.array([heart.spacing for heart in hearts]).T
    assert (dy == dx).all()
    for values, (low, high) in ((dy, stack.PIXEL_MM), (pitch, stack.PITCH_MM)):
        assert values.min() >= low
        assert values.max() <= high
        assert np.ptp(values) > 0.6 * (high - low)


def test_they_lie_in_the_canonical_orientation(hearts: list[Sample]) -> None:
    for heart in hearts:
        turn = canonical(heart.affine)
        assert turn == Turn(transpose=False, flip_y=False, flip_x=False)
        assert np.linalg.norm(heart.affine[:3, :3], axis=0) == pytest.approx(heart.spacing)


def test_the_mask_weighs_what_its_curves_do(hearts: list[Sample]) -> None:
    shares = np.array([grams(heart.mask, heart.spacing) / heart.curves_g for heart in hearts])
    assert abs(shares - 1).max() < 0.04
    assert abs(shares.mean() - 1) < 0.004


def test_masses_and_volumes_are_those_of_people(hearts: list[Sample]) -> None:
    masses = np.array([heart.curves_g for heart in hearts])
    volumes = np.array([cavity_ml(heart.mask, heart.spacing) for heart in hearts])
    assert 20 < masses.min() < 70 < np.median(masses) < 150 < masses.max() < 400
    assert 15 < volumes.min() < 60 < np.median(volumes) < 170 < volumes.max() < 500


def test_wall_encloses_cavity_but_at_the_outflow(hearts: list[Sample]) -> None:
    """Closed where the whole circle has muscle; a C has it along half of the cavity's border at least."""
    closed = open_ = 0
    for heart in hearts:
        labelled = np.flatnonzero(heart.mask.any((1, 2)))
        assert (np.diff(labelled) == 1).all()
        for plane in heart.mask[labelled]:
            beside = rims(plane)
            if beside.size:
                walled = float((beside == MYOCARDIUM).mean())
                assert walled > 0.4
                closed, open_ = closed + (walled == 1), open_ + (walled < 1)
    assert closed > 4 * open_ > 0


def test_stacks_begin_and_end_beside_the_heart_and_in_it(hearts: list[Sample]) -> None:
    """Above the base and below the apex there is nothing to outline: most begin there, about half end there."""
    first, last = (np.mean([not heart.mask[end].any() for heart in hearts]) for end in (0, -1))
    assert 0.5 < first < 1
    assert 0.3 < last < 0.7


def test_above_the_base_nothing_counts() -> None:
    for number in range(40):
        body = anatomy.ventricle(rng(4, number, "ventricle"))
        above = np.array([[-25.0, -22.0, -19.0], [body.length + 4, body.length + 6, body.length + 8]])
        seen = curves.outlines(body, above)
        assert not seen.epi.any()
        assert not seen.endo.any()
        assert curves.outlines(body, above[:1] + 25 + body.length / 2).epi.all()


def test_walls_are_as_thick_as_their_kind() -> None:
    for kind in KINDS:
        for number in range(12):
            body = anatomy.ventricle(rng(1, number, kind), kind)
            z = np.linspace(0.5, 0.75, 8) * body.length
            endo, epi, present = curves.walls(body, z)
            wall = (epi - endo)[present & (endo > 0)]
            assert wall.min() >= curves.THINNEST_MM - 1e-6
            assert wall.max() < 40
            if kind == "infarct":
                assert wall.min() < 6.5
            if kind == "concentric":
                assert np.median(wall) > 8
            if kind == "asymmetric":
                assert wall.max() > np.median(wall) + 2
            if kind == "dilated":
                assert endo.max() > 25


def test_kinds_come_as_often_as_they_should() -> None:
    drawn: list[Kind] = [anatomy.ventricle(rng(2, number, "ventricle")).kind for number in range(1000)]
    for kind, share in KINDS.items():
        assert drawn.count(kind) / 1000 == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 1000))


def test_blood_and_muscle_can_be_told_apart_and_bssfp_is_the_rule() -> None:
    drawn = [contrast.contrast(rng(2, number, "contrast")) for number in range(500)]
    for tones in drawn:
        assert abs(tones.blood - tones.myocardium) >= 0.99 * contrast.LEAST_APART * max(tones.blood, tones.myocardium)
    usual = np.mean([tones.blood > tones.myocardium and tones.fat > tones.myocardium > tones.lung for tones in drawn])
    assert 0.7 < usual < 0.97
    assert any(tones.blood < tones.myocardium for tones in drawn)


def test_the_image_shows_the_mask() -> None:
    """Blood brighter than muscle around it in nearly all hearts of usual contrast, darker ones among the rest."""
    brighter = []
    for number in range(30):
        heart = sample(9, number)
        middle = heart.mask.shape[0] // 2
        inside, wall = (heart.image[middle][heart.mask[middle] == label] for label in (CAVITY, MYOCARDIUM))
        if inside.size and wall.size:
            brighter.append(np.median(inside) > np.median(wall))
    assert np.mean(brighter) > 0.75
