"""One participant of the cohort: all that the files are made from, and what is true of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvray.cmr.phantom import heart as hearts
from lvray.cmr.phantom import outlines
from lvray.cmr.phantom import signal as signals
from lvray.cmr.phantom import torso as torsos
from lvray.cmr.phantom.heart import Heart
from lvray.cmr.phantom.outlines import Outline
from lvray.cmr.phantom.people import Person, PhantomOptions, person, rng
from lvray.cmr.phantom.scan import Plane, Scan, scan
from lvray.cmr.phantom.signal import Scanner
from lvray.cmr.phantom.torso import Torso

_QUIRKS = {"results": 0.12, "valve": 0.2, "rescan": 0.1, "mixed": 0.06, "from_apex": 0.2}
Frames = NDArray[np.uint16]


@dataclass(frozen=True)
class Participant:
    """Everything about one participant that the files are made from.

    quirks: what the study has besides the usual series (`results`: an Inline_VF_Results series, `valve`: long-axis
    images among the InlineVF ones, `rescan`: a slice taken twice, `mixed`: one series for all slices, `from_apex`:
    slices numbered from the apex).
    """

    seed: int
    number: int
    options: PhantomOptions
    person: Person
    heart: Heart
    scan: Scan
    torso: Torso
    scanner: Scanner
    shares: NDArray[np.float64]
    quirks: frozenset[str]

    @property
    def es(self) -> int:
        """Index of the end-systolic phase; end diastole is 0."""
        return int(self.shares.argmax())

    def trigger_ms(self, phase: int) -> float:
        """Time of a phase (from 0) after the R wave."""
        return phase * 60000 / self.person.heart_rate / self.options.phases


@dataclass(frozen=True)
class Truth:
    """What is known of a participant without noise. mask: [Z, rows, columns] at ED, base to apex.

    Outlines are one a slice, base to apex, at ED; inlinevf is None where there is none.
    """

    mass_g: float
    edv_ml: float
    esv_ml: float
    mask: NDArray[np.uint8]
    outlines: list[Outline | None]
    inlinevf: list[Outline | None] | None


def participant(seed: int, number: int, options: PhantomOptions) -> Participant:
    """Participant `number` (from 0) of the cohort `seed`."""
    who = person(seed, number)
    body = hearts.heart(who, seed, number, options)
    chances = rng(seed, number, "quirks").random(len(_QUIRKS))
    return Participant(
        seed=seed, number=number, options=options, person=who, heart=body, scan=scan(body, seed, number, options),
        torso=torsos.torso(who, seed, number), scanner=signals.scanner(seed, number),
        shares=hearts.ejected(options.phases),
        quirks=frozenset(name for (name, chance), u in zip(_QUIRKS.items(), chances, strict=True) if u < chance),
    )


def truth(subject: Participant) -> Truth:
    """The true mass, volumes, ED mask and outlines of a participant."""
    edv, esv = volumes(subject)
    return Truth(
        mass_g=hearts.mass_g(subject.heart), edv_ml=edv, esv_ml=esv,
        mask=outlines.mask(subject.heart, subject.scan, 0.0),
        outlines=outlines.true_outlines(subject.heart, subject.scan, 0.0), inlinevf=inlinevf(subject, 0),
    )


def inlinevf(subject: Participant, phase: int) -> list[Outline | None] | None:
    """What InlineVF draws in every slice of a phase, base to apex; None without results: it draws ED and ES only."""
    if subject.person.inlinevf == "absent" or phase not in (0, subject.es):
        return None
    share = float(subject.shares[phase])
    if not subject.options.bias:
        return outlines.true_outlines(subject.heart, subject.scan, share)
    bias = outlines.bias(subject.person, subject.seed, subject.number, subject.options.slices)
    return outlines.inlinevf_outlines(subject.heart, subject.scan, share, bias)


def frames(subject: Participant, index: int, take: str = "slice") -> Frames:
    """The cine [phases, rows, columns] of slice `index`, base to apex. Another `take` has another breath and noise."""
    r = rng(subject.seed, subject.number, f"{take} {index}")
    drift = subject.scan.drift[index] if take == "slice" else subject.scan.drift[index] + r.normal(0, 5, 2)
    return render(subject, subject.scan.short_axis(index), subject.shares, drift, r)


def volumes(subject: Participant) -> tuple[float, float]:
    """True EDV and ESV in ml, over the slices that count at ED and at ES."""
    edv, esv = (hearts.volume_ml(hearts.outlines(subject.heart, float(subject.shares[phase]))[0])
                for phase in (0, subject.es))
    return edv, esv


def render(subject: Participant, plane: Plane, shares: NDArray[np.float64], drift: NDArray[np.float64],
            r: np.random.Generator) -> Frames:
    """Images [phases, rows, columns] of any plane, one for each share of the stroke volume that is out."""
    return np.stack(list(signals.frames(subject.heart, subject.torso, subject.scan, plane, subject.scanner, shares,
                                        drift, r)))
