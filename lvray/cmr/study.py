"""From the frames of a study to its short-axis cine: which stack, which slices, which phases.

FrameOfReferenceUID, SliceLocation, SliceThickness and file names are never used: each is wrong in real data.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvray.cmr.archive import Member
from lvray.cmr.dicom import Frame, read_frames
from lvray.cmr.geometry import TOWARD_BASE, Volume, toward_base
from lvray.cmr.phases import align, by_age, nearest, order
from lvray.cmr.pixels import pixels
from lvray.cmr.quality import DEFAULT, Flag, stack_flags
from lvray.errors import Reason, StudyRefused
from lvray.settings import Quality

SAME_ORIENTATION = 0.01
"""Direction cosines of one stack differ by less (real ones by 1e-6; 0.01 is half a degree)."""
SAME_SPACING = 1e-3
"""Pixel sizes of one stack agree to this share."""
SAME_SLICE_MM = 1.0
"""Images nearer than this along the normal lie in one slice."""
GAP_RATIO = 1.5
"""A gap of more than so many times the smallest means a slice that is missing, or one too many."""
SHORT_AXIS_COSINE = 0.64
"""Without a telling description a stack must lie within 50 degrees of the usual short axis; axial, sagittal and
coronal planes are 54.7 degrees away."""

SHORT_AXIS_NAME = re.compile(r"(?<![a-z])sax?(?![a-z])|short[ _-]*axis", re.I)
OTHER_NAME = re.compile(r"(?<![a-z])lax?(?![a-z])|long[ _-]*axis|[2345][ _-]*(ch|kammer)|lvot|rvot|mitral|aort|flow",
                        re.I)
LEFT_OUT_NAME = re.compile(r"scout|locali[sz]er|survey|inline_?vf_?results", re.I)
OUTLINES_NAME = re.compile(r"inline_?vf", re.I)
UKB_NAME = re.compile(r"^CINE_segmented_SAX", re.I)

Along = Callable[[Frame], float]
"""Where a frame lies along its stack's normal, in mm; the base has the greatest."""


@dataclass(frozen=True)
class Cine:
    """A short-axis stack over the heart beat.

    frames: [slice][phase], base to apex; None where a slice lacks a phase.
    outlined: frames that carry an overlay, by (slice, phase).
    spacing: (dz, dy, dx) mm; affine: index (z, y, x, 1) to patient LPS mm.
    """

    frames: tuple[tuple[Frame | None, ...], ...]
    outlined: dict[tuple[int, int], Frame]
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    flags: tuple[Flag, ...]
    patient: str = field(repr=False)

    @property
    def slices(self) -> int:
        return len(self.frames)

    @property
    def phases(self) -> int:
        return len(self.frames[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """[Z, Y, X] of one phase."""
        return (self.slices, *self._some().shape)

    @property
    def first_phase_is_ed(self) -> bool:
        """UK Biobank's protocol starts each slice at end diastole."""
        return bool(UKB_NAME.match(self._some().description))

    @property
    def person(self) -> tuple[float | None, float | None, str | None]:
        """Height in cm, weight in kg and sex as the DICOM header gives them."""
        return self._some().person

    def complete(self, phase: int) -> bool:
        return all(row[phase] for row in self.frames)

    def volume(self, phase: int) -> Volume:
        """The pixels of one phase. StudyRefused when a slice lacks it."""
        return self.volumes([phase])[phase]

    def volumes(self, phases: Iterable[int]) -> dict[int, Volume]:
        """The same for several phases at once; each file is read once."""
        frames = {phase: [self._frame(z, phase) for z in range(self.slices)] for phase in phases}
        images = pixels(f for row in frames.values() for f in row)

        def stack(row: list[Frame]) -> NDArray[Any]:
            return np.stack([images[f] for f in row])

        return {phase: Volume(stack(row), self.spacing, self.affine, phase) for phase, row in frames.items()}

    def _frame(self, z: int, phase: int) -> Frame:
        frame = self.frames[z][phase]
        if frame is None:
            raise StudyRefused(Reason.MISSING_PHASE, f"slice {z + 1} has no image at phase {phase + 1};"
                                                     " export the study again with all its images")
        return frame

    def _some(self) -> Frame:
        return next(f for row in self.frames for f in row if f is not None)


def read_cine(members: Iterable[Member], quality: Quality = DEFAULT) -> Cine:
    """The short-axis cine of a study. StudyRefused, with the reason, when there is none that can be trusted."""
    frames = sorted(read_frames(members), key=by_age)
    if any(len(set(values) - {""}) > 1 for values in zip(*(f.identity for f in frames), strict=True)):
        raise StudyRefused(Reason.SEVERAL_PATIENTS, "images of more than one patient or examination; split them up")
    stacks = [s for s in _stacks(f for f in frames if not LEFT_OUT_NAME.search(f.description)) if _is_short_axis(s)]
    if not stacks:
        raise StudyRefused(Reason.NO_SHORT_AXIS, f"none of the {len(frames)} MR images is a short-axis cine")
    stack = max(stacks, key=lambda s: (len(s), s[0].series_number))
    _refuse_unplaced(frames, stack)
    along = _along(stack)
    several = len(stacks) > 1 and sum(len(_split_slices(s, _along(s))) > 2 for s in stacks) > 1
    flags = {Flag.SEVERAL_STACKS} if several else set()
    flags |= {Flag.PHANTOM} if any(f.phantom for f in stack) else set()
    plain = [f for f in stack if not OUTLINES_NAME.search(f.description)]
    slices = [_one_acquisition(s) for s in _split_slices(plain or stack, along)]
    if len(slices) < 2:
        raise StudyRefused(Reason.SINGLE_SLICE, "the short axis has a single slice; mass needs the whole stack")
    ordered = [order(s, flags) for s in slices]
    cells = align(ordered, flags)
    spacing, affine = _geometry([row[0] for row in ordered], along, flags, quality)
    return Cine(cells, _outlined(stack, cells, along), spacing, affine, tuple(sorted(flags)), frames[0].patient)


def _stacks(frames: Iterable[Frame]) -> list[list[Frame]]:
    """Frames of one orientation and matrix, together."""
    stacks: list[list[Frame]] = []
    stack_of: dict[tuple[tuple[int, int], tuple[float, ...]], list[Frame]] = {}
    for f in frames:
        if f.orientation is None or f.position is None:
            continue
        key = f.shape, f.orientation
        if key not in stack_of:
            alike = next((s for s in stacks if _alike(s[0], f)), None)
            if alike is None:
                stacks.append(alike := [])
            stack_of[key] = alike
        stack_of[key].append(f)
    return stacks


def _alike(first: Frame, frame: Frame) -> bool:
    assert first.orientation is not None
    assert frame.orientation is not None
    differ = np.abs(np.subtract(first.orientation, frame.orientation)).max()
    return bool(first.shape == frame.shape and differ < SAME_ORIENTATION)


def normal(stack: Sequence[Frame]) -> NDArray[np.float64]:
    """Unit normal of a stack's planes, pointing toward the base."""
    orientation = stack[0].orientation
    assert orientation is not None
    n = np.cross(orientation[:3], orientation[3:])
    return n / np.linalg.norm(n) * (1 if n @ TOWARD_BASE >= 0 else -1)


def _is_short_axis(stack: Sequence[Frame]) -> bool:
    names = {f.description for f in stack}
    if any(SHORT_AXIS_NAME.search(n) for n in names):
        return True
    return not any(OTHER_NAME.search(n) for n in names) and toward_base(normal(stack)) >= SHORT_AXIS_COSINE


def _refuse_unplaced(frames: Iterable[Frame], stack: Sequence[Frame]) -> None:
    """An image of the cine's own series without a place might be a missing slice."""
    series = {f.series for f in stack}
    for f in frames:
        if f.series in series and (f.position is None or f.orientation is None):
            raise StudyRefused(Reason.BAD_GEOMETRY, f"image {f.member.number} has no usable position or orientation")


def _along(stack: Sequence[Frame]) -> Along:
    x, y, z = normal(stack).tolist()

    def along(frame: Frame) -> float:
        assert frame.position is not None
        return float(x * frame.position[0] + y * frame.position[1] + z * frame.position[2])

    return along


def _split_slices(stack: Iterable[Frame], along: Along) -> list[list[Frame]]:
    """The frames of each slice position, base first."""
    slices: list[list[Frame]] = []
    last = np.inf
    for f in sorted(stack, key=along, reverse=True):
        if last - along(f) > SAME_SLICE_MM:
            slices.append([])
            last = along(f)
        slices[-1].append(f)
    return slices


def _one_acquisition(frames: Sequence[Frame]) -> list[Frame]:
    """A slice scanned twice counts once: its last complete acquisition, else the fullest.

    Each acquisition is a series of its own, or repeats the InstanceNumbers of the one before.
    """
    seen: Counter[tuple[str, int]] = Counter()
    runs: dict[tuple[str, int], list[Frame]] = defaultdict(list)
    for f in sorted(frames, key=by_age):
        runs[f.series, seen[f.series, f.instance]].append(f)
        seen[f.series, f.instance] += 1
    full = max(len(r) for r in runs.values())
    if full == 1:  # a series for each phase
        return list(frames)
    return max((r for r in runs.values() if len(r) == full),
               key=lambda r: (r[0].series_number, max(f.acquired for f in r)))


def _geometry(slices: Sequence[Frame], along: Along, flags: set[Flag],
              quality: Quality) -> tuple[tuple[float, float, float], NDArray[np.float64]]:
    """Pitch along the normal, in-plane spacing and affine; one frame a slice, base to apex."""
    first = slices[0]
    for f in slices:
        if f.spacing is None or first.spacing is None or not np.allclose(f.spacing, first.spacing, rtol=SAME_SPACING):
            raise StudyRefused(Reason.BAD_SPACING,
                               f"image {f.member.number}: its PixelSpacing is absent, absurd or unlike the first one's")
    assert first.spacing is not None
    assert first.orientation is not None
    gaps = -np.diff([along(f) for f in slices])
    if gaps.max() > GAP_RATIO * gaps.min():
        wide, narrow = int(gaps.argmax()) + 1, int(gaps.argmin()) + 1
        raise StudyRefused(Reason.MISSING_SLICE, f"a slice is missing, or one is too many: {gaps.max():.1f} mm between"
                                                 f" slices {wide} and {wide + 1}, {gaps.min():.1f} mm between slices"
                                                 f" {narrow} and {narrow + 1}")
    positions = np.array([f.position for f in slices])
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    line = positions[0] + np.arange(len(slices))[:, None] * step
    flags |= stack_flags(gaps, float(np.abs(positions - line).max()), first.spacing, quality)
    dy, dx = first.spacing
    along_y, along_x = np.array(first.orientation[3:]) * dy, np.array(first.orientation[:3]) * dx
    affine = np.eye(4)
    affine[:3] = np.stack([step, along_y, along_x, positions[0]], 1)
    return (float(gaps.mean()), dy, dx), affine


def _outlined(stack: Sequence[Frame], cells: Sequence[Sequence[Frame | None]],
              along: Along) -> dict[tuple[int, int], Frame]:
    """Frames with an overlay, by the slice and phase they belong to; of two in one place the later series counts.

    StudyRefused: the outlines' series has a slice that the cine lacks.
    """
    places = np.array([along(next(f for f in row if f)) for row in cells])
    off = np.abs(np.array([along(f) for f in stack])[:, None] - places)
    if off.min(1).max() > SAME_SLICE_MM:
        raise StudyRefused(Reason.MISSING_SLICE, "a slice is missing: the outlines' series has one more")
    by_series: dict[tuple[int, str], list[Frame]] = defaultdict(list)
    for f, z in zip(stack, off.argmin(1).tolist(), strict=True):
        by_series[z, f.series].append(f)
    found: dict[tuple[int, int], Frame] = {}
    for (z, _), frames in by_series.items():
        ordered = order(frames, set()) if any(f.has_overlay for f in frames) else []
        for rank, f in enumerate(ordered):
            if f.has_overlay:
                found[z, nearest(f, rank, cells[z])] = f
    return found
