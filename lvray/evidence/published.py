"""What the paper reports, to stand beside figures of one's own.

Source: Khurshid, Friedman, Pirruccello et al., Cardiovascular Digital Health Journal 2021;2(2):109-117.
"""

from __future__ import annotations

from dataclasses import dataclass

PAPER = "Khurshid et al., Cardiovascular Digital Health Journal 2021;2:109-117"
HOLDOUT = 891


@dataclass(frozen=True)
class Published:
    """A line of the paper's table, as printed, and the form of the method (raw or centred) where the paper says it."""

    method: str
    form: str
    r: str
    mae_g: str
    p: str


TABLE = (
    Published("ML4Hseg", "", "0.864 (0.847 to 0.880)", "10.41 (9.82 to 10.99)", "–"),
    Published("ML4Hreg", "", "0.843 (0.823 to 0.861)", "10.51 (9.86 to 11.15)", ".01"),
    Published("InlineVF", "centred", "0.795 (0.770 to 0.818)", "14.30 (13.46 to 11.01, misprinted)", "<.01"),
)
ODDS = {"hypertension": "2.76 (2.51 to 3.04)", "atrial fibrillation": "1.75 (1.37 to 2.20)",
        "heart failure": "4.67 (3.28 to 6.49)"}
"""Odds ratios of LVH by ML4Hseg, adjusted for age and sex."""
