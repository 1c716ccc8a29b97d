"""The images of one study, series by series, as a UK Biobank zip holds them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from lvray.cmr.phantom import headers, outlines
from lvray.cmr.phantom.participant import Frames, Participant, frames, inlinevf, render
from lvray.cmr.phantom.people import rng
from lvray.cmr.phantom.signal import THICKNESS_MM

Image = tuple[str, int, str, bytes]
"""Series description, instance number, SOP Instance UID, file."""


def images(subject: Participant) -> Iterator[Image]:
    """Every image of the study. Without InlineVF results its series has no overlays, or is not there."""
    key = f"lvray phantom {subject.seed} {subject.number} {subject.options}"
    ds = headers.study(subject.person, subject.scan, key, subject.options.phases)
    order = list(range(subject.options.slices))
    if "from_apex" in subject.quirks:
        order.reverse()
    twice = order[len(order) // 2] if "rescan" in subject.quirks else None
    cines, number = [frames(subject, index) for index in order], 10

    def cine(pixels: Frames, index: int, first: int) -> Iterator[Image]:
        headers.place(ds, subject.scan, subject.scan.short_axis(index))
        for phase, picture in enumerate(pixels):
            yield _image(ds, picture, first + phase, subject.trigger_ms(phase))

    if "mixed" in subject.quirks:
        headers.series(ds, "CINE_segmented_SAX", number, key, THICKNESS_MM)
        for b, index in enumerate(order):
            yield from cine(cines[b], index, b * subject.options.phases + 1)
    else:
        for b, index in enumerate(order):
            takes = [frames(subject, index, "rejected"), cines[b]] if index == twice else [cines[b]]
            for pixels in takes:
                headers.series(ds, f"CINE_segmented_SAX_b{b + 1}", number, key, THICKNESS_MM)
                number += 1
                yield from cine(pixels, index, 1)
    if subject.person.inlinevf != "absent" or subject.number % 2:
        yield from _inlinevf_images(subject, ds, key, order, cines)


def _inlinevf_images(subject: Participant, ds: Dataset, key: str, order: list[int],
                     cines: list[Frames]) -> Iterator[Image]:
    view, phases = subject.scan, subject.options.phases
    drawn = {phase: inlinevf(subject, phase) for phase in (0, subject.es)}
    headers.series(ds, "CINE_segmented_SAX_InlineVF", 60, key, THICKNESS_MM)
    for b, index in enumerate(order):
        headers.place(ds, view, view.short_axis(index))
        for phase, picture in enumerate(cines[b]):
            found = drawn.get(phase)
            outline = found[index] if found else None
            overlay = outlines.raster(outline, view.rows, view.columns) if outline else None
            instance = b * phases + phase + 1
            yield _image(ds, picture, instance, subject.trigger_ms(phase), overlay)
    if "valve" in subject.quirks:
        yield from _valve_images(subject, ds, key)
    if "results" in subject.quirks:
        headers.series(ds, "Inline_VF_Results", 61, key, THICKNESS_MM)
        headers.place(ds, view, view.short_axis(order[0]))
        yield _image(ds, cines[0][0] // 2, 1, 0.0)


def _valve_images(subject: Participant, ds: Dataset, key: str) -> Iterator[Image]:
    """Long-axis images at ED and ES with the mitral valve marked: the InlineVF series holds them in real studies."""
    plane = subject.scan.long_axis(subject.heart.length / 2)
    both = np.array([0, subject.es])
    pictures = render(subject, plane, subject.shares[both], np.zeros(2), rng(subject.seed, subject.number, "valve"))
    headers.series(ds, "CINE_segmented_SAX_InlineVF", 60, key, 6.0)
    headers.place(ds, subject.scan, plane)
    rows, columns = pictures.shape[1:]
    mark = np.zeros((rows, columns), bool)
    base = round(rows / 2 - subject.heart.length / 2 / subject.scan.pixel_mm)
    mark[max(base, 1), columns // 2 - 8:columns // 2 + 8] = True
    for k, phase in enumerate(both):
        instance = subject.options.slices * subject.options.phases + k + 1
        yield _image(ds, pictures[k], instance, subject.trigger_ms(int(phase)), mark)


def _image(ds: Dataset, pixels: NDArray[np.uint16], instance: int, trigger_ms: float,
           drawn: NDArray[np.bool_] | None = None) -> Image:
    return str(ds.SeriesDescription), instance, *headers.image(ds, pixels, instance, trigger_ms, drawn)
