"""LV hypertrophy and disease: the odds of an outcome with LVH against without, at equal age and sex."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from statsmodels.discrete.discrete_model import Logit

from lvray.evidence.columns import Z95

MAX_SE = 10.0
"""Of the log odds ratio: the bounds would be the ratio times and divided by 3e8. Seen in cohorts of about ten."""


@dataclass(frozen=True)
class Odds:
    """Odds ratio of the outcome for LVH, by logistic regression adjusted for age and sex, with Wald's interval."""

    n: int
    events: int
    """Of the n, those with the outcome."""
    unknown: int
    """People left out, of whom LVH, outcome, age or sex is not known."""
    adjusted_for: tuple[str, ...]
    """Age and sex, but for one that is the same in everybody."""
    odds_ratio: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    """Why there is no odds ratio."""


def odds(lvh: Sequence[bool | None], outcome: Sequence[bool | None], age: Sequence[float | None],
         sex: Sequence[str | None]) -> Odds:
    """Odds of outcome [n] by lvh [n], age [n] in years and sex [n] ("male", "female"); None is unknown.

    ValueError unless of one length, and for another sex. The analysis of Khurshid 2021, which reports 4.67 (3.28-6.49)
    for heart failure.
    """
    people = [p for p in zip(lvh, outcome, age, sex, strict=True) if None not in p]
    if any(p[3] not in ("male", "female") for p in people):
        raise ValueError('sex is "male", "female" or None')
    has = np.array([bool(p[0]) for p in people], dtype=np.float64)
    event = np.array([bool(p[1]) for p in people], dtype=np.float64)
    columns = {"age": np.array([p[2] for p in people], dtype=np.float64),
               "sex": np.array([p[3] == "male" for p in people], dtype=np.float64)}
    kept = {name: (v - v.mean()) / v.std() for name, v in columns.items() if len(people) and np.ptp(v) > 0}
    design = np.column_stack([has, *kept.values(), np.ones(len(people))])
    found = Odds(n=len(people), events=int(event.sum()), unknown=len(lvh) - len(people), adjusted_for=tuple(kept))
    reason = _not_estimable(design, event)
    if reason:
        return replace(found, reason=reason)
    fit = Logit(event, design).fit(disp=0, maxiter=100, warn_convergence=False)
    if not fit.mle_retvals["converged"]:
        return replace(found, reason="the regression did not converge")
    log_odds, se = float(fit.params[0]), float(fit.bse[0])
    if se > MAX_SE:
        return replace(found, reason="too few people: LVH, age and sex all but tell those with the outcome apart")
    low, ratio, high = (float(v) for v in np.exp([log_odds - Z95 * se, log_odds, log_odds + Z95 * se]))
    return replace(found, odds_ratio=ratio, low=low, high=high)


def _not_estimable(design: NDArray[np.float64], event: NDArray[np.float64]) -> str | None:
    """Why the regression of event [n] on design [n, k], whose first column is LVH, has no finite answer."""
    if not len(event):
        return "nobody has LVH, outcome, age and sex all known"
    if np.ptp(event) == 0:
        return "everybody has the outcome" if event[0] else "nobody has the outcome"
    if np.ptp(design[:, 0]) == 0:
        return "everybody has LVH" if design[0, 0] else "nobody has LVH"
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return "LVH, age and sex cannot be told apart in these people"
    if _separated(design, event):
        return "some combination of LVH, age and sex tells the people with the outcome apart (separation)"
    return None


def _separated(design: NDArray[np.float64], event: NDArray[np.float64]) -> bool:
    """Complete or quasi-complete separation: a line that has no event on its wrong side, and some off it.

    Sources: Albert and Anderson, Biometrika 1984;71:1-10; found by linear programming, as Konis (Oxford, 2007).
    """
    signed = design * (2 * event - 1)[:, None]
    found = optimize.linprog(-signed.sum(0), A_ub=-signed, b_ub=np.zeros(len(event)), bounds=(-1, 1))
    return found.x is not None and bool((signed @ found.x).max() > 1e-5)
