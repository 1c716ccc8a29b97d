"""The figures in words and cells: one wording for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from lvray.evidence.agreement import Agreement, Margin
from lvray.evidence.details import Covered, Overlapped
from lvray.evidence.evaluation import Evaluation, Row
from lvray.evidence.outcomes import Odds
from lvray.evidence.subgroups import FlagEffect, Subgroup

NONE = "–"
HEADINGS = ("method", "n", "r (95% CI)", "MAE, g (95% CI)", "bias, g", "limits of agreement, g", "P")
LIMITS = ("method", "bias, g (95% CI)", "lower limit, g (95% CI)", "upper limit, g (95% CI)",
          "MAE, g (95% BCa bootstrap)")
CALIBRATION = ("method", "concordance (95% CI)", "calibration slope (95% CI)", "intercept, g (95% CI)")
GROUPS = ("people", "n", "r (95% CI)", "MAE, g (95% CI)", "bias, g (95% CI)")
COVERAGE = ("method", "people", "n", "inside", "share (95% CI)", "expected in 95% of trials")
LVH = ("method", "both", "manual only", "method only", "neither", "unknown", "sensitivity (95% CI)",
       "specificity (95% CI)", "kappa (95% CI)")
ODDS = ("outcome", "n", "with it", "left out, not known", "odds ratio of LVH (95% CI)", "adjusted for")
FLAG = ("flag", "people with", "without", "MAE with, g", "MAE without, g", "difference, g (95% CI)")
OVERLAP = ("method", "structure", "n", "Dice (95% CI)", "mean surface distance, mm", "95th percentile, mm")
TERMINAL_COLUMNS = 5
"""As many of the columns as fit a terminal of 80 characters."""
MEAN = "predict the mean"


def cells(row: Row) -> tuple[str, ...]:
    """The row under HEADINGS, as text."""
    return (row.label, *agreement_cells(row.agreement), p_text(row.p_reference))


def agreement_cells(a: Agreement) -> tuple[str, ...]:
    """n, r, MAE, bias and limits of agreement, as text; a dash where a figure is not estimable."""
    return (
        str(a.n),
        interval(a.r, a.r_low, a.r_high, ".3f"),
        interval(a.mae_g, a.mae_low, a.mae_high, ".1f"),
        NONE if a.bias_g is None else f"{a.bias_g:+.1f}",
        NONE if a.loa_low is None or a.loa_high is None else f"{a.loa_low:+.1f} to {a.loa_high:+.1f}",
    )


def limits_cells(row: Row) -> tuple[str, ...]:
    """Under LIMITS."""
    a = row.agreement
    return (row.label, interval(a.bias_g, a.bias_low, a.bias_high, "+.1f"),
            interval(a.loa_low, a.loa_low_low, a.loa_low_high, "+.1f"),
            interval(a.loa_high, a.loa_high_low, a.loa_high_high, "+.1f"),
            interval(a.mae_g, a.mae_bca_low, a.mae_bca_high, ".1f"))


def calibration_cells(row: Row) -> tuple[str, ...]:
    """Under CALIBRATION."""
    a = row.agreement
    return (row.label, interval(a.ccc, a.ccc_low, a.ccc_high, ".3f"),
            interval(a.slope, a.slope_low, a.slope_high, ".2f"),
            interval(a.intercept_g, a.intercept_low, a.intercept_high, "+.1f"))


def group_cells(group: Subgroup) -> tuple[str, ...]:
    """Under GROUPS."""
    a = group.agreement
    return (f"{group.grouping}: {group.level}", *agreement_cells(a)[:3],
            interval(a.bias_g, a.bias_low, a.bias_high, "+.1f"))


def coverage_cells(covered: Covered) -> tuple[str, ...]:
    """Under COVERAGE."""
    c = covered.coverage
    expected = NONE if c.expected_low is None or c.expected_high is None else \
        f"{c.expected_low:.1%} to {c.expected_high:.1%}"
    return (covered.method, f"{covered.grouping}: {covered.level}" if covered.grouping else covered.level, str(c.n),
            str(c.covered), interval(c.share, c.low, c.high, ".1%"), expected)


def lvh_cells(row: Row) -> tuple[str, ...]:
    """Under LVH."""
    h = row.lvh
    return (row.label, *map(str, (h.both, h.manual_only, h.estimate_only, h.neither, h.unknown)),
            interval(h.sensitivity, h.sensitivity_low, h.sensitivity_high, ".2f"),
            interval(h.specificity, h.specificity_low, h.specificity_high, ".2f"),
            interval(h.kappa, h.kappa_low, h.kappa_high, ".2f"))


def odds_cells(name: str, found: Odds) -> tuple[str, ...]:
    """Under ODDS."""
    ratio = f"not estimable: {found.reason}" if found.odds_ratio is None else \
        interval(found.odds_ratio, found.low, found.high, ".2f")
    return (name, str(found.n), str(found.events), str(found.unknown), ratio, ", ".join(found.adjusted_for) or NONE)


def odds_lines(found: Mapping[str, Odds]) -> list[tuple[str, ...]]:
    """odds_cells of each outcome."""
    return [odds_cells(name, of) for name, of in found.items()]


def flag_cells(effect: FlagEffect) -> tuple[str, ...]:
    """Under FLAG."""
    return (effect.flag, str(effect.n_with), str(effect.n_without), number(effect.mae_with_g),
            number(effect.mae_without_g), interval(effect.difference_g, effect.low, effect.high, "+.1f"))


def overlap_cells(found: Overlapped) -> tuple[str, ...]:
    """Under OVERLAP."""
    return (found.method, found.structure, str(found.n),
            interval(found.dice, found.dice_low, found.dice_high, ".3f"), number(found.mean_mm, ".2f"),
            number(found.hd95_mm, ".1f"))


def errors_cells(row: Row) -> tuple[str, ...]:
    """Method, people, how much closer it is than predicting the mean and than the reference, Wilcoxon's P; P of equal
    correlation by Steiger."""
    e = row.errors
    return (row.label, str(row.agreement.n), margin_text(row.margin),
            NONE if e is None else interval(e.margin_g, e.low, e.high, "+.1f"), p_text(e.p if e else None),
            p_text(row.p_steiger))


def baseline_cells(evaluation: Evaluation) -> tuple[str, ...]:
    """Predicting the training people's mean, under HEADINGS."""
    if evaluation.baseline is None:
        return (MEAN, *(NONE for _ in HEADINGS[1:]))
    return (MEAN, *agreement_cells(evaluation.baseline), NONE)


def table(evaluation: Evaluation) -> str:
    """The methods as aligned text, the headline forms first, then each one's margin over predicting the mean."""
    head = [cells(row) for row in evaluation.rows if row.headline]
    rest = [cells(row) for row in evaluation.rows if not row.headline]
    lines = [line[:TERMINAL_COLUMNS] for line in (HEADINGS, *head, baseline_cells(evaluation), *rest)]
    widths = [max(len(line[k]) for line in lines) for k in range(TERMINAL_COLUMNS)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    rule = "-" * max(len(line) for line in text)
    split = len(head) + 2
    margins = [f"{row.label}: {words}." for row in evaluation.rows if (words := margin_words(row))]
    return "\n".join([text[0], rule, *text[1:split], *([rule, *text[split:]] if rest else []), "", *margins]).rstrip()


def headline(evaluation: Evaluation) -> str:
    """The result in a sentence or two."""
    row = next((row for row in evaluation.rows if row.label == evaluation.reference), None)
    if row is None or row.agreement.mae_g is None:
        return "Nobody has both a manual mass and an estimate, so nothing can be said of accuracy."
    a = row.agreement
    people = "1 person" if a.n == 1 else f"{a.n} people"
    off = f"{row.label} was off by {interval(a.mae_g, a.mae_low, a.mae_high, '.1f', ' g', '95% CI ')} on average"
    words = margin_words(row)
    return f"On {people}, LV mass by {off}." + (f" That is {words}." if words else "")


def margin_words(row: Row) -> str:
    """How the row's error compares with predicting the mean; empty where there is nothing to compare."""
    margin = row.margin
    if margin is None or margin.margin_g is None:
        return ""
    worse = margin.margin_g < 0
    size = f"{abs(margin.margin_g):.1f} g {'further off' if worse else 'closer'} than predicting the mean"
    if margin.low is None or margin.high is None:
        return f"{size}, with too few people for an interval"
    low, high = (-margin.high, -margin.low) if worse else (margin.low, margin.high)
    unsure = ", and may be chance" if low <= 0 else ""
    return f"{size} (95% CI {low:.1f} to {high:.1f}){unsure}"


def margin_text(margin: Margin | None) -> str:
    """The margin as a cell."""
    return NONE if margin is None else interval(margin.margin_g, margin.low, margin.high, "+.1f")


def p_text(p: float | None) -> str:
    """P to three places."""
    if p is None:
        return NONE
    return "<.001" if p < 0.001 else f"{p:.3f}".lstrip("0")


def number(value: float | None, form: str = ".1f") -> str:
    """A figure, or a dash."""
    return NONE if value is None else f"{value:{form}}"


def interval(value: float | None, low: float | None, high: float | None, form: str, unit: str = "",
             name: str = "") -> str:
    """A figure and its interval where there is one; a dash for neither."""
    if value is None:
        return NONE
    inside = "" if low is None or high is None else f" ({name}{low:{form}} to {high:{form}})"
    return f"{value:{form}}{unit}{inside}"
