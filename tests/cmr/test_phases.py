from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from lvray.cmr.dicom import Frame
from lvray.cmr.phases import align, nearest, order
from lvray.cmr.quality import Flag


def numbers(row: Sequence[Frame | None]) -> list[int | None]:
    return [f.instance if f else None for f in row]


def test_by_trigger_time_whatever_the_numbers(make: Any) -> None:
    flags: set[Flag] = set()
    frames = [make.frame(n, trigger=t) for n, t in ((1, 60.0), (2, 0.0), (3, 30.0))]
    assert numbers(order(frames, flags)) == [2, 3, 1]
    assert not flags


@pytest.mark.parametrize(("times", "temporal", "expected"), [
    ((None, None, None), (3, 1, 2), [2, 3, 1]), ((0.0, None, 5.0), (3, 1, 2), [2, 3, 1]),
    ((None, None, None), (None, 1, 2), [1, 2, 3]), ((0.0, 0.0, 0.0), (1, 1, 1), [1, 2, 3])])
def test_without_times_that_tell_by_position_or_number_and_flagged(
        make: Any, times: Sequence[float | None], temporal: Sequence[int | None], expected: list[int]) -> None:
    flags: set[Flag] = set()
    frames = [make.frame(n, trigger=t, temporal=i) for n, t, i in zip((1, 2, 3), times, temporal, strict=True)]
    assert numbers(order(frames[::-1], flags)) == expected
    assert flags == {Flag.PHASES_WITHOUT_TIMES}


def test_of_two_at_one_moment_the_later_counts(make: Any) -> None:
    frames = [make.frame(n, trigger=t, series=s) for n, t, s in ((1, 0.0, 7), (2, 30.0, 7), (1, 0.0, 9))]
    assert [f.series for f in order(frames, set())] == ["9", "7"]


def test_a_single_image_needs_no_time(make: Any) -> None:
    flags: set[Flag] = set()
    assert numbers(order([make.frame(4, trigger=0.0)], flags)) == [4]
    assert not flags


def test_full_slices_count_by_rank(make: Any) -> None:
    flags: set[Flag] = set()
    rows = [[make.frame(p, trigger=p * beat) for p in range(4)] for beat in (30.0, 33.0, 27.0)]
    assert [numbers(row) for row in align(rows, flags)] == [[0, 1, 2, 3]] * 3
    assert not flags


@pytest.mark.parametrize("gone", range(5))
@pytest.mark.parametrize("beat", [800, 1100])
def test_a_slice_that_lacks_an_image_is_matched_by_its_share_of_the_beat(make: Any, gone: int, beat: float) -> None:
    flags: set[Flag] = set()
    full = [[make.frame(p, trigger=p * 160.0, interval=800.0) for p in range(5)] for _ in range(2)]
    short = [make.frame(p, trigger=p * beat / 5, interval=beat) for p in range(5) if p != gone]
    row = numbers(align([full[0], short, full[1]], flags)[1])
    assert row == [None if p == gone else p for p in range(5)]
    assert flags == {Flag.PHASES_INCOMPLETE}


def test_without_times_a_short_slice_is_matched_from_its_first_image(make: Any) -> None:
    rows = [[make.frame(20 * z + p) for p in range(5) if (z, p) != (2, 3)] for z in range(3)]
    assert numbers(align(rows, set())[2]) == [40, 41, 42, None, 44]


def test_beats_of_unknown_length_are_not_mixed_with_known_ones(make: Any) -> None:
    full = [[make.frame(p, trigger=p * 160.0, interval=800.0) for p in range(5)] for _ in range(2)]
    short = [make.frame(p, trigger=p * 160.0) for p in range(4)]
    assert numbers(align([*full, short], set())[2]) == [0, 1, 2, 3, None]


def test_nearest(make: Any) -> None:
    row = [make.frame(1, trigger=0.0), None, make.frame(3, trigger=60.0)]
    assert nearest(row[2], 0, row) == 2
    assert nearest(make.frame(9, trigger=40.0), 0, row) == 2
    assert nearest(make.frame(9), 1, row) == 1
    assert nearest(make.frame(9), 5, row) == 2
