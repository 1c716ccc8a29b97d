"""Do the 95 % intervals hold the truth in 95 % of studies?

    python -m scripts.bench.coverage [--cohorts 2000]

Cohorts drawn from a known truth: manual mass normal (90 g, SD 25), the estimate off by a normal error (bias 3 g, SD 13)
that does not depend on the mass, so nothing is skewed and no tail is heavy. LVH is a mass above 115 g (16 % of people);
the odds of the outcome are 2.76 times with it, age (SD 7 years) and sex add to them. Every interval is the one that
the report gives, its bootstrap of 2,000 draws too; the bootstrap is also tried on fewer than 20 people, where the
report gives none. The conformal interval (level 90 %) is fitted on the cohort, and its coverage of new people is exact.

A table of coverage in percent; in brackets, in how many percent of cohorts an interval was not estimable (they are left
out). The last line is one JSON object, with what misses 93.5 to 96.5 % (conformal: 88.5 to 91.5) at n = 100 and 891.
About 2.5 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lvray.evidence import bootstrap, conformal
from lvray.evidence.agreement import agreement
from lvray.evidence.columns import MIN_N, Z95
from lvray.evidence.hypertrophy import hypertrophy
from lvray.evidence.outcomes import odds

SIZES = (10, 30, 100, 891)
GOAL, GOAL_AT = (93.5, 96.5), (100, 891)
CONFORMAL = "conformal, 90 %"
MEAN_G, SD_G, BIAS_G, ERROR_SD_G, LVH_ABOVE_G, ODDS_RATIO = 90.0, 25.0, 3.0, 13.0, 115.0, 2.76


@dataclass(frozen=True)
class Cohort:
    manual_g: NDArray[np.float64]
    estimate_g: NDArray[np.float64]
    age: NDArray[np.float64]
    male: NDArray[np.bool_]
    outcome: NDArray[np.bool_]


@dataclass
class Tally:
    """Of the cohorts: the sum of the coverage, and of how many there is any."""

    covered: float = 0.0
    given: int = 0
    cohorts: int = 0

    def add(self, low: float | None, high: float | None, true: float) -> None:
        self.cohorts += 1
        if low is not None and high is not None:
            self.given += 1
            self.covered += low <= true <= high

    @property
    def percent(self) -> float | None:
        return 100 * self.covered / self.given if self.given else None

    @property
    def missing(self) -> float:
        return 100 * (1 - self.given / self.cohorts)


@dataclass
class Size:
    """What was found at one n."""

    n: int
    tallies: dict[str, Tally] = field(default_factory=dict)

    def of(self, name: str) -> Tally:
        return self.tallies.setdefault(name, Tally())


def truths() -> dict[str, float]:
    """What each interval is to hold."""
    total = math.hypot(SD_G, ERROR_SD_G)
    slope = SD_G**2 / total**2
    above = stats.norm.sf(LVH_ABOVE_G, MEAN_G, SD_G)
    estimated = stats.norm.sf(LVH_ABOVE_G, MEAN_G + BIAS_G, total)
    both = float(stats.multivariate_normal.cdf(  # of manual and estimate above, by the cdf of their negatives
        [-LVH_ABOVE_G] * 2, [-MEAN_G, -MEAN_G - BIAS_G], [[SD_G**2, SD_G**2], [SD_G**2, total**2]]))
    neither = 1 - above - estimated + both
    chance = above * estimated + (1 - above) * (1 - estimated)
    return {
        "r": SD_G / total,
        "MAE, t": float(stats.foldnorm(BIAS_G / ERROR_SD_G, scale=ERROR_SD_G).mean()),
        "MAE, BCa": float(stats.foldnorm(BIAS_G / ERROR_SD_G, scale=ERROR_SD_G).mean()),
        "bias": BIAS_G,
        "lower limit of agreement": BIAS_G - Z95 * ERROR_SD_G,
        "upper limit of agreement": BIAS_G + Z95 * ERROR_SD_G,
        "concordance": 2 * SD_G**2 / (SD_G**2 + total**2 + BIAS_G**2),
        "calibration slope": slope,
        "calibration intercept": MEAN_G - slope * (MEAN_G + BIAS_G),
        "LVH sensitivity": both / above,
        "LVH specificity": neither / (1 - above),
        "LVH kappa": (both + neither - chance) / (1 - chance),
        "odds ratio": ODDS_RATIO,
    }


def drawn(rng: np.random.Generator, n: int) -> Cohort:
    manual = rng.normal(MEAN_G, SD_G, n)
    age, male = rng.normal(63, 7, n), rng.random(n) < 0.5
    log_odds = -1.5 + math.log(ODDS_RATIO) * (manual > LVH_ABOVE_G) + 0.3 * (age - 63) / 7 + 0.4 * male
    return Cohort(manual, manual + rng.normal(BIAS_G, ERROR_SD_G, n), age, male,
                  rng.random(n) < 1 / (1 + np.exp(-log_odds)))


def add(found: Size, cohort: Cohort, true: Mapping[str, float]) -> None:
    """One cohort's intervals into the tallies."""
    a = agreement(cohort.estimate_g, cohort.manual_g)
    by_manual = [bool(g > LVH_ABOVE_G) for g in cohort.manual_g]
    lvh = hypertrophy([bool(g > LVH_ABOVE_G) for g in cohort.estimate_g], by_manual)
    sexes = ["male" if male else "female" for male in cohort.male]
    ratio = odds(by_manual, [bool(o) for o in cohort.outcome], [float(y) for y in cohort.age], sexes)
    for name, low, high in (
        ("r", a.r_low, a.r_high),
        ("MAE, t", a.mae_low, a.mae_high),
        ("MAE, BCa", a.mae_bca_low, a.mae_bca_high),
        ("bias", a.bias_low, a.bias_high),
        ("lower limit of agreement", a.loa_low_low, a.loa_low_high),
        ("upper limit of agreement", a.loa_high_low, a.loa_high_high),
        ("concordance", a.ccc_low, a.ccc_high),
        ("calibration slope", a.slope_low, a.slope_high),
        ("calibration intercept", a.intercept_low, a.intercept_high),
        ("LVH sensitivity", lvh.sensitivity_low, lvh.sensitivity_high),
        ("LVH specificity", lvh.specificity_low, lvh.specificity_high),
        ("LVH kappa", lvh.kappa_low, lvh.kappa_high),
        ("odds ratio", ratio.low, ratio.high),
    ):
        found.of(name).add(low, high, true[name])
    intervals = conformal.fit(list(cohort.estimate_g), list(cohort.manual_g), sexes, method="simulated", data="",
                              kind="phantom", weights_sha256="")
    tally = found.of(CONFORMAL)
    tally.cohorts += 1
    tally.given += 1
    for sex in ("male", "female"):
        low, high = intervals.of(1000.0, sex)
        error = stats.norm(BIAS_G, ERROR_SD_G)
        tally.covered += float(error.cdf(high - 1000) - error.cdf(low - 1000)) / 2


def simulated(n: int, cohorts: int, seed: int = 1) -> Size:
    rng, true, found = np.random.default_rng([seed, n]), truths(), Size(n)
    for _ in range(cohorts):
        add(found, drawn(rng, n), true)
    return found


def misses(found: Size) -> list[str]:
    """Intervals outside the goal."""
    return [name for name, tally in found.tallies.items() if tally.percent is not None and not (
        88.5 <= tally.percent <= 91.5 if name == CONFORMAL else GOAL[0] <= tally.percent <= GOAL[1])]


def table(sizes: list[Size]) -> str:
    lines = [f"{'coverage, %':26}" + "".join(f"{f'n = {size.n}':>16}" for size in sizes)]
    for name in sizes[0].tallies:
        cells = [(size.of(name).percent, size.of(name).missing) for size in sizes]
        lines.append((f"{name:26}" + "".join(
            f"{'–' if percent is None else f'{percent:.1f}':>7} {f'({missing:.0f})' if missing else '':<8}"
            for percent, missing in cells)).rstrip())
    return "\n".join(lines)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--cohorts", type=int, default=2000)
    options = asked.parse_args()
    bootstrap.MIN_PEOPLE = MIN_N
    sizes = [simulated(n, options.cohorts) for n in SIZES]
    print(table(sizes))
    print(json.dumps({
        "cohorts": options.cohorts,
        "coverage": {size.n: {name: tally.percent for name, tally in size.tallies.items()} for size in sizes},
        "not estimable": {size.n: {name: tally.missing for name, tally in size.tallies.items()} for size in sizes},
        "misses": {size.n: misses(size) for size in sizes if size.n in GOAL_AT},
    }))


if __name__ == "__main__":
    main()
