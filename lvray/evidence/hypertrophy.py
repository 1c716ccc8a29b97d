"""LV hypertrophy (LVH) by estimate against LVH by manual mass: who is found, who is falsely found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

from lvray.evidence.columns import Interval


@dataclass(frozen=True)
class Hypertrophy:
    """The four cells, among people in whom both are known, and what follows from them.

    sensitivity: found, of those with LVH by manual mass; specificity: not found, of those without; both with Wilson's
    interval. kappa: Cohen's, with the large-sample interval. None: not estimable, as sensitivity where nobody has LVH.
    """

    both: int
    manual_only: int
    estimate_only: int
    neither: int
    unknown: int
    """People left out."""
    sensitivity: float | None
    sensitivity_low: float | None
    sensitivity_high: float | None
    specificity: float | None
    specificity_low: float | None
    specificity_high: float | None
    kappa: float | None
    kappa_low: float | None
    kappa_high: float | None


def hypertrophy(estimate: Sequence[bool | None], manual: Sequence[bool | None]) -> Hypertrophy:
    """LVH by estimate [n] against LVH by manual mass [n], None where unknown; ValueError unless of one length.

    Sources: Wilson, JASA 1927;22:209-212; Cohen 1960, with the variance of Fleiss, Cohen and Everitt, Psychological
    Bulletin 1969;72:323-327, by statsmodels.
    """
    cells = Counter(zip(manual, estimate, strict=True))
    both, manual_only = cells[True, True], cells[True, False]
    estimate_only, neither = cells[False, True], cells[False, False]
    sensitivity, (sensitivity_low, sensitivity_high) = _share(both, both + manual_only)
    specificity, (specificity_low, specificity_high) = _share(neither, neither + estimate_only)
    kappa, (kappa_low, kappa_high) = _kappa(both, manual_only, estimate_only, neither)
    return Hypertrophy(
        both=both,
        manual_only=manual_only,
        estimate_only=estimate_only,
        neither=neither,
        unknown=len(manual) - both - manual_only - estimate_only - neither,
        sensitivity=sensitivity,
        sensitivity_low=sensitivity_low,
        sensitivity_high=sensitivity_high,
        specificity=specificity,
        specificity_low=specificity_low,
        specificity_high=specificity_high,
        kappa=kappa,
        kappa_low=kappa_low,
        kappa_high=kappa_high,
    )


def _share(count: int, of: int) -> tuple[float | None, Interval]:
    if not of:
        return None, (None, None)
    low, high = proportion_confint(count, of, alpha=0.05, method="wilson")
    return count / of, (max(0.0, float(low)), min(1.0, float(high)))


def _kappa(both: int, manual_only: int, estimate_only: int, neither: int) -> tuple[float | None, Interval]:
    """None where everybody is in one cell of agreement; no interval where its large-sample variance is 0."""
    n = both + manual_only + estimate_only + neither
    if n in (0, both, neither):
        return None, (None, None)
    if 0 in (both + manual_only, both + estimate_only, n - both - manual_only, n - both - estimate_only):
        return 0.0, (None, None)  # one of the two never varies: agreement is as by chance
    found = cohens_kappa(np.array([[both, manual_only], [estimate_only, neither]]))
    kappa = float(found.kappa)
    if not found.std_kappa > 1e-9:
        return kappa, (None, None)
    return kappa, (max(-1.0, float(found.kappa_low)), min(1.0, float(found.kappa_upp)))
