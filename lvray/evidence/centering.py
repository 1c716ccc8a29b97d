"""Centering: take a method's mean difference to the manual labels away, per sex (method.md, "centered InlineVF").

Fit on training people only. It is what turns contours drawn by one convention into grams of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from lvray.errors import UseError


@dataclass(frozen=True)
class Centering:
    """Mean difference (estimate - manual, grams) of the training people, overall and by sex, and how many they were."""

    overall_g: float
    by_sex_g: Mapping[str, float]
    n: int
    n_by_sex: Mapping[str, int]

    def apply(self, mass_g: float, sex: str | None) -> float:
        """The mass less the mean difference of that sex; a sex unknown, or absent from training: less the overall."""
        return mass_g - (self.overall_g if sex is None else self.by_sex_g.get(sex, self.overall_g))

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def fit(estimate_g: Sequence[float], manual_g: Sequence[float], sexes: Sequence[str | None]) -> Centering:
    """Fit on training people: three columns [n] in one order, grams finite. UseError when n is 0."""
    if not len(estimate_g) == len(manual_g) == len(sexes):
        raise ValueError(f"columns of one length wanted: {len(estimate_g)}, {len(manual_g)}, {len(sexes)}")
    if not len(sexes):
        raise UseError("centering: no training person has both an estimate and a manual mass;"
                       " give labels of training people, or use the raw estimates")
    difference = np.asarray(estimate_g, dtype=np.float64) - np.asarray(manual_g, dtype=np.float64)
    if not np.isfinite(difference).all():
        raise ValueError("masses must be finite")
    groups = {sex: difference[[s == sex for s in sexes]] for sex in sorted({s for s in sexes if s is not None})}
    return Centering(
        overall_g=float(difference.mean()),
        by_sex_g={sex: float(group.mean()) for sex, group in groups.items()},
        n=len(difference),
        n_by_sex={sex: len(group) for sex, group in groups.items()},
    )
