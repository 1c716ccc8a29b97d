"""The order of a slice's images over the heart beat, and which of them belong together across slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lvray.cmr.dicom import Frame
from lvray.cmr.quality import Flag


def order(frames: Sequence[Frame], flags: set[Flag]) -> list[Frame]:
    """The images of one slice by TriggerTime; else by temporal position; else by InstanceNumber (both flagged).

    A time that is absent in one image, or the same in all, tells no order. Of two images at one moment the later one
    counts. Adds to `flags`.
    """
    moments, timed = _moments(frames)
    if not timed:
        flags.add(Flag.PHASES_WITHOUT_TIMES)
    latest: dict[float, Frame] = {}
    for moment, f in sorted(zip(moments, frames, strict=True), key=lambda pair: (pair[0], by_age(pair[1]))):
        latest[moment] = f
    return list(latest.values())


def by_age(frame: Frame) -> tuple[int, str, int, str, int]:
    """Sorts images by when they were taken, whatever their files are called."""
    return frame.series_number, frame.acquired, frame.instance, frame.uid, frame.index


def align(slices: Sequence[Sequence[Frame]], flags: set[Flag]) -> tuple[tuple[Frame | None, ...], ...]:
    """[slice][phase] from each slice's ordered images.

    Slices with as many images as the fullest count phases by rank, since the beat's length varies from slice to slice.
    A slice with fewer is matched to the others' times as shares of the beat, and flagged.
    """
    most = max(len(s) for s in slices)
    if all(len(s) == most for s in slices):
        return tuple(tuple(s) for s in slices)
    flags.add(Flag.PHASES_INCOMPLETE)
    beats = all(f.interval for s in slices for f in s)
    reference = np.median([_shares(s, beats) for s in slices if len(s) == most], axis=0).tolist()
    cells: list[tuple[Frame | None, ...]] = []
    for s in slices:
        row: list[Frame | None] = [None] * most
        for f, phase in zip(s, _match(_shares(s, beats), reference), strict=True):
            row[phase] = f
        cells.append(tuple(row))
    return tuple(cells)


def nearest(frame: Frame, rank: int, row: Sequence[Frame | None]) -> int:
    """The phase of a slice that a frame belongs to: itself, else the nearest TriggerTime, else its rank."""
    if frame in row:
        return row.index(frame)
    times = [f.trigger if f is not None and f.trigger is not None else np.inf for f in row]
    if frame.trigger is None or min(times) == np.inf:
        return min(rank, len(row) - 1)
    return int(np.abs(np.array(times) - frame.trigger).argmin())


def _moments(frames: Sequence[Frame]) -> tuple[list[float], bool]:
    """What a slice's images are ordered by, and whether it is a time in ms."""
    trigger = [f.trigger for f in frames if f.trigger is not None]
    if _tells(trigger, len(frames)):
        return trigger, True
    temporal = [float(f.temporal_index) for f in frames if f.temporal_index is not None]
    return temporal if _tells(temporal, len(frames)) else [float(f.instance) for f in frames], False


def _tells(moments: Sequence[float], images: int) -> bool:
    return len(moments) == images and (images == 1 or len(set(moments)) > 1)


def _shares(frames: Sequence[Frame], beats: bool) -> list[float]:
    """When each image was taken: as a share of the beat where its length is known, else in ms or by number."""
    moments, timed = _moments(frames)
    if not timed:
        return [m - min(moments) for m in moments]
    return [m / f.interval if beats and f.interval else m for m, f in zip(moments, frames, strict=True)]


def _match(times: Sequence[float], reference: Sequence[float]) -> list[int]:
    """Increasing phases, one for each time, with the least sum of distances (dynamic programming)."""
    n, m = len(times), len(reference)
    cost = np.full((n + 1, m + 1), np.inf)
    cost[0] = 0
    for i in range(1, n + 1):
        for j in range(i, m + 1):
            cost[i, j] = min(cost[i, j - 1], cost[i - 1, j - 1] + abs(times[i - 1] - reference[j - 1]))
    chosen, j = [], m
    for i in range(n, 0, -1):
        while j > i and cost[i, j - 1] <= cost[i, j]:
            j -= 1
        j -= 1
        chosen.append(j)
    return chosen[::-1]
