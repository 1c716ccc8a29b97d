"""Outlines to areas: circles of known size, rings that touch, leave the image, lie open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.draw import polygon_perimeter

from lvray.cmr.contours import Outline, crossing, morphology_outline, polygon_shares, read_sunnybrook, ring_outline
from lvray.errors import Reason, StudyRefused

SHAPE = (80, 90)


def circle(radius: float, centre: tuple[float, float] = (44.3, 38.6), points: int = 200) -> NDArray[np.float64]:
    """(x, y) on a circle."""
    t = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([centre[0] + radius * np.cos(t), centre[1] + radius * np.sin(t)], 1)


def ring(*polygons: NDArray[np.float64]) -> NDArray[np.bool_]:
    drawn = np.zeros(SHAPE, bool)
    for polygon in polygons:
        x, y = np.rint(polygon).astype(int).T
        drawn[polygon_perimeter(y, x)] = True
    return drawn


def disc(radius: float) -> float:
    return float(np.pi * radius**2)


@pytest.mark.parametrize("radius", [2.5, 8, 17.3, 30])
def test_a_polygon_keeps_its_area_and_place(radius: float) -> None:
    shares = polygon_shares(circle(radius), SHAPE)
    assert shares.sum() == pytest.approx(disc(radius), rel=0.01)
    y, x = np.mgrid[:80, :90]
    assert (shares * x).sum() / shares.sum() == pytest.approx(44.3, abs=0.05)
    assert (shares * y).sum() / shares.sum() == pytest.approx(38.6, abs=0.05)


def test_a_polygon_is_cut_at_the_border() -> None:
    assert polygon_shares(circle(10, (0, 40)), SHAPE).sum() == pytest.approx(disc(10) / 2 + 10, rel=0.02)
    assert not polygon_shares(circle(10, (200, 40)), SHAPE).any()
    assert not polygon_shares(circle(10, (-50, 40)), SHAPE).any()


@pytest.mark.parametrize(("inner", "outer"), [(10, 17), (19, 25), (5, 13)])
def test_two_rings_are_cavity_and_wall(inner: float, outer: float) -> None:
    outline = ring_outline(ring(circle(inner), circle(outer)))
    assert outline.cavity_px == pytest.approx(disc(inner), rel=0.03)
    assert outline.wall_px == pytest.approx(disc(outer) - disc(inner), rel=0.03)
    labels = outline.labels(SHAPE)
    assert (labels == 1).sum() == pytest.approx(outline.cavity_px, abs=1)
    assert (labels == 2).sum() == pytest.approx(outline.wall_px, abs=2)


@pytest.mark.parametrize("radius", [5, 10, 19])
def test_rings_are_not_biased(radius: float) -> None:
    """A line's pixels count half less one pixel; labels by a threshold of a half would lose 4 to 11 %."""
    r, areas = np.random.default_rng(0), []
    for centre in r.uniform(35, 45, (60, 2)):
        outline = ring_outline(ring(circle(radius, tuple(centre)), circle(radius + 7, tuple(centre))))
        areas.append((outline.cavity_px, (outline.labels(SHAPE) == 1).sum()))
    assert np.mean(areas, 0) == pytest.approx(disc(radius), abs=0.7)


def test_one_ring_is_the_epicardium_of_an_apex() -> None:
    outline = ring_outline(ring(circle(9)))
    assert outline.endo is None
    assert outline.cavity_px == 0
    assert outline.wall_px == pytest.approx(disc(9), rel=0.03)
    assert set(np.unique(outline.labels(SHAPE))) == {0, 2}


def test_a_cavity_that_has_closed_is_none() -> None:
    speck = ring(circle(17))
    speck[38:41, 44:47] = True
    outline = ring_outline(speck)
    assert outline.endo is None
    assert outline.wall_px == pytest.approx(disc(17), rel=0.02)


def test_an_inner_outline_in_pieces_is_refused() -> None:
    inner = ring(circle(9))
    inner[:, 36:40] = inner[:, 48:52] = inner[34:36] = inner[41:43] = False
    with pytest.raises(StudyRefused, match="open"):
        ring_outline(ring(circle(17)) | inner)


def test_rings_that_touch() -> None:
    outline = ring_outline(ring(circle(10, (40, 38)), circle(16, (46, 38))))
    assert outline.cavity_px == pytest.approx(disc(10), rel=0.05)
    assert outline.wall_px == pytest.approx(disc(16) - disc(10), rel=0.05)


def test_a_c_at_the_base_stays_a_c() -> None:
    t = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    outer = circle(18)
    outer[(t > 1) & (t < 2.5)] = circle(12)[(t > 1) & (t < 2.5)]  # the two outlines share the gap
    wall = (2 * np.pi - 1.5) / 2 * (18**2 - 12**2)
    outline = ring_outline(ring(circle(12), outer))
    assert outline.cavity_px == pytest.approx(disc(12), rel=0.05)
    assert outline.wall_px == pytest.approx(wall, rel=0.08)
    gap = np.rint(circle(15)[(t > 1.3) & (t < 2.2)]).astype(int)
    assert not outline.labels(SHAPE)[gap[:, 1], gap[:, 0]].any()


@pytest.mark.parametrize("gap", [np.s_[:, 44:47], np.s_[:38, 44:46], np.s_[28:32, 44:46], np.s_[21:25, 44:46]])
def test_an_open_line_is_refused(gap: tuple[slice, slice]) -> None:
    """Both lines, both on one side, the inner one, the outer one."""
    line = ring(circle(10), circle(16))
    before = line.sum()
    line[gap] = False
    assert line.sum() < before
    with pytest.raises(StudyRefused) as refused:
        ring_outline(line)
    assert refused.value.reason == Reason.OUTLINES_DISAGREE


def test_a_ring_on_the_very_border_is_closed() -> None:
    drawn = np.zeros(SHAPE, bool)
    drawn[[0, -1]] = drawn[:, [0, -1]] = True
    assert ring_outline(drawn).wall_px == pytest.approx(79 * 89, rel=0.015)


def test_smoothing_keeps_the_area_of_a_ring() -> None:
    """Through pixel centres: 20 x 20, to the last tail of the blur."""
    drawn = np.zeros(SHAPE, bool)
    drawn[[30, 50], 30:51] = drawn[30:51, [30, 50]] = True
    assert ring_outline(drawn).wall_px == pytest.approx(400, abs=1e-3)


@pytest.mark.parametrize("corner", [(0, 0), (0, 64), (50, 0), (50, 64), (20, 30)])
def test_the_same_rings_anywhere_in_the_plane(corner: tuple[int, int]) -> None:
    """Rings that touch the border lose what their smoothing spreads beyond it, and nothing else."""
    (y, x), rings = corner, ring(circle(8, (44, 38)), circle(12, (44, 38)))[26:51, 32:57]
    wide, plane = np.zeros((120, 130), bool), np.zeros((75, 89), bool)
    plane[y:y + 25, x:x + 25] = wide[y + 20:y + 45, x + 20:x + 45] = rings
    found, expected = ring_outline(plane), ring_outline(wide)
    for got, whole in ((found.endo, expected.endo), (found.epi, expected.epi)):
        assert got is not None
        assert whole is not None
        assert np.array_equal(got, whole[20:95, 20:109])
        assert whole.sum() - got.sum() < 0.03 * whole.sum()


def test_epicardium_alone_is_a_disc_of_wall_and_endocardium_alone_has_none() -> None:
    shares = polygon_shares(circle(10), SHAPE)
    assert Outline(None, shares).wall_px == pytest.approx(disc(10), rel=0.01)
    assert Outline(shares, None).wall_px == 0


def test_crossing() -> None:
    small, big, away = (polygon_shares(p, SHAPE) for p in (circle(8), circle(12), circle(12, (68, 38.6))))
    assert crossing(Outline(small, big)) == 0
    assert crossing(Outline(small, away)) == pytest.approx(1)
    assert crossing(Outline(big, small)) == pytest.approx(1 - 64 / 144, rel=0.02)
    assert crossing(Outline(small, None)) == 0


def test_the_authors_rule_inflates_the_wall() -> None:
    drawn = ring(circle(12), circle(18))
    inflated, exact = morphology_outline(drawn), ring_outline(drawn)
    assert 1.15 < inflated.wall_px / exact.wall_px < 1.45
    assert inflated.cavity_px < exact.cavity_px


def write(folder: Path, instance: int, kind: str, points: NDArray[np.float64], reader: str = "manual") -> Path:
    path = folder / f"IM-0001-{instance:04}-{kind}contour-{reader}.txt"
    np.savetxt(path, points + 1, fmt="%.4f")
    return path


def test_text_contours_are_one_based(tmp_path: Path) -> None:
    write(tmp_path, 59, "i", circle(8))
    write(tmp_path, 59, "o", circle(12))
    write(tmp_path, 48, "i", circle(6))
    (tmp_path / "README.txt").write_text("no contour")
    found = read_sunnybrook(tmp_path, {59: SHAPE, 48: SHAPE, 1: SHAPE})
    assert set(found) == {48, 59}
    endo = found[59].endo
    assert endo is not None
    assert np.allclose(endo, polygon_shares(circle(8), SHAPE), atol=0.05)
    assert found[48].epi is None


def refusal(folder: Path) -> Reason:
    with pytest.raises(StudyRefused) as refused:
        read_sunnybrook(folder, {59: SHAPE})
    assert "IM-" not in str(refused.value) or refused.value.reason == Reason.NO_OUTLINES
    return refused.value.reason


def test_contours_that_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == Reason.NO_OUTLINES
    path = write(tmp_path, 60, "i", circle(8))
    assert refusal(tmp_path) == Reason.OUTLINES_DISAGREE  # no such image
    path.unlink()
    path = write(tmp_path, 59, "i", circle(60))
    assert refusal(tmp_path) == Reason.OUTLINES_DISAGREE  # leaves the image
    for text in ("no numbers", "1 2\n3 4\n", "1\n2\n3\n", "1 2\n3 4\nnan 5\n", "1 2\n3\n"):
        path.write_text(text)
        assert refusal(tmp_path) == Reason.UNREADABLE_FILE
    write(tmp_path, 59, "i", circle(8))
    write(tmp_path, 59, "i", circle(9), "other")
    assert refusal(tmp_path) == Reason.OUTLINES_DISAGREE  # two of a kind


def test_an_empty_contour_file(tmp_path: Path, recwarn: Any) -> None:
    write(tmp_path, 59, "i", circle(8)).write_text("")
    assert refusal(tmp_path) == Reason.UNREADABLE_FILE
