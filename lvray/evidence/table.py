"""The figures in words and cells: one wording for the page and for the terminal."""

from __future__ import annotations

from lvray.evidence.agreement import Agreement, Margin
from lvray.evidence.evaluation import Evaluation, Row

NONE = "–"
HEADINGS = ("method", "n", "r (95% CI)", "MAE, g (95% CI)", "bias, g", "limits of agreement, g", "P")
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
        _interval(a.r, a.r_low, a.r_high, ".3f"),
        _interval(a.mae_g, a.mae_low, a.mae_high, ".1f"),
        NONE if a.bias_g is None else f"{a.bias_g:+.1f}",
        NONE if a.loa_low is None or a.loa_high is None else f"{a.loa_low:+.1f} to {a.loa_high:+.1f}",
    )


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
        return "No holdout person has both a manual mass and an estimate, so nothing can be said of accuracy."
    a = row.agreement
    people = "1 holdout person" if a.n == 1 else f"{a.n} holdout people"
    off = f"{row.label} was off by {_interval(a.mae_g, a.mae_low, a.mae_high, '.1f', ' g', '95% CI ')} on average"
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
    return NONE if margin is None else _interval(margin.margin_g, margin.low, margin.high, "+.1f")


def p_text(p: float | None) -> str:
    """P to three places."""
    if p is None:
        return NONE
    return "<.001" if p < 0.001 else f"{p:.3f}".lstrip("0")


def _interval(value: float | None, low: float | None, high: float | None, form: str, unit: str = "",
              name: str = "") -> str:
    if value is None:
        return NONE
    inside = "" if low is None or high is None else f" ({name}{low:{form}} to {high:{form}})"
    return f"{value:{form}}{unit}{inside}"
