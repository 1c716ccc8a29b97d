"""Which of two methods is closer to the manual mass, on the same people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from lvray.evidence.agreement import margin
from lvray.evidence.columns import MIN_N, grams


@dataclass(frozen=True)
class Paired:
    """How many grams smaller the first method's |error| is than the second's: mean over the n people, with Student's t
    interval, and Wilcoxon's signed-rank P. Negative: the second is closer."""

    n: int
    margin_g: float | None
    low: float | None
    high: float | None
    p: float | None


def compare(first: ArrayLike, second: ArrayLike, truth: ArrayLike) -> Paired:
    """Compare the errors of first [n] and second [n] against truth [n], grams. P is two-sided, from 4 people on whose
    errors differ; people whose errors are equal are left out of it (Wilcoxon 1945)."""
    a, b, t = grams(first, second, truth)
    gain = np.abs(b - t) - np.abs(a - t)
    differing = gain[gain != 0]
    found = margin(a, b, t)
    p = float(stats.wilcoxon(differing).pvalue) if len(differing) >= MIN_N else None
    return Paired(n=found.n, margin_g=found.margin_g, low=found.low, high=found.high, p=p)
