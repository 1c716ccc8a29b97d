"""An estimate as a picture: every slice with its outlines, the grams, and the flags in words. It names nobody."""

from __future__ import annotations

from collections.abc import Iterator

from lvray.cmr.geometry import canonical
from lvray.cmr.quality import Flag, words
from lvray.cmr.study import Cine
from lvray.estimate import Estimate
from lvray.evidence.figures import Study, slices
from lvray.serving.seg import RESEARCH


def sheet(cine: Cine, estimate: Estimate) -> bytes:
    """PNG of the slices at the estimate's ED, seen as in a textbook. StudyRefused: a slice lacks it."""
    volume = cine.volume(estimate.ed_phase - 1)
    turn = canonical(volume.affine)
    mask = None if estimate.mask is None else turn.apply(estimate.mask)
    seen = volume.turned(turn)
    return slices(Study("", seen.image, seen.spacing, mask), list(_lines(estimate)))


def _lines(estimate: Estimate) -> Iterator[str]:
    mass = "LV mass unknown" if estimate.mass_g is None else f"LV mass {estimate.mass_g:.1f} g"
    if estimate.interval_g is not None and estimate.interval_level is not None:
        low, high = estimate.interval_g
        mass += f" (manual mass with {estimate.interval_level:.0%} probability: {low:.1f} to {high:.1f} g)"
    index = "" if estimate.lvmi_g_m2 is None else f"; LVMI {estimate.lvmi_g_m2:.1f} g/m²"
    volume = "" if estimate.edv_ml is None else f"; EDV {estimate.edv_ml:.0f} mL"
    yield f"{mass}{index}{volume}; {estimate.method}, end diastole at phase {estimate.ed_phase}"
    for flag in estimate.quality:
        yield f"{flag}: {words(Flag(flag))}"
    yield f"{RESEARCH}."
