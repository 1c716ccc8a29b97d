"""The report: one self-contained report.html, report.json with the same figures, and the plots as files of their own.

    <out>/report.html   everything, pictures inline
    <out>/report.json   every figure, no individual value
    <out>/figures/      each plot as PNG and as SVG
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from matplotlib.figure import Figure

from lvray.errors import EnvironmentFault
from lvray.evidence import disclosure, figures, plots, published, table
from lvray.evidence.details import Covered
from lvray.evidence.evaluation import Evaluation
from lvray.evidence.page import inline, render
from lvray.evidence.plots import Bar

FEW = 30
"""Below so many people the report says that its figures are rough."""
NOT_A_DEVICE = "Research use only. Not a medical device: no figure here may guide anyone's care."
INDIVIDUAL = "Individual-level images and points: not for publication. --no-pictures leaves them out."
MANUAL = "manual"


@dataclass(frozen=True)
class Picture:
    """A PNG with its heading and the sentence below it: of one study, so never for publication."""

    title: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class Report:
    """What the page says. The plots and the tables of results are made from the evaluation."""

    title: str
    data: str
    """What the data were, in a sentence: phantoms, Sunnybrook, the user's own."""
    evaluation: Evaluation
    pictures: tuple[Picture, ...] = ()
    worst: tuple[Picture, ...] = ()
    """Of the largest errors, the largest first."""
    facts: Mapping[str, Mapping[str, str | int | float | None]] = field(default_factory=dict)
    """Tables of name and value by heading: data (with the manifest's checksum), splits, settings, versions."""
    limits: tuple[str, ...] = ()
    """Further sentences on what the figures do not show."""
    warnings: tuple[str, ...] = ()
    """Why the figures may flatter: at the top of the page."""
    hide_small: bool = False
    """Whether counts under 5 are hidden (disclosure.py)."""
    individuals: bool = True
    """Whether plots have a point a person."""


def write_report(out: Path, report: Report) -> Path:
    """Write the files into `out`, made where absent; the path of the page.

    The page needs nothing beside it: pictures are inline, no script, no font, no network. Same report, same bytes.
    EnvironmentFault where the folder cannot be written.
    """
    shown = replace(report, evaluation=disclosure.hide(report.evaluation)) if report.hide_small else report
    drawn = _drawn(shown.evaluation, report.individuals)
    files = {"report.json": (json.dumps(_plain(shown), indent=2, allow_nan=False) + "\n").encode(),
             "report.html": _page(shown, drawn).encode(),
             **{f"figures/{name}.{kind}": made(figure) for name, figure in drawn.items()
                for kind, made in (("png", figures.png), ("svg", figures.svg))}}
    try:
        (out / "figures").mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (out / name).write_bytes(content)
    except OSError as error:
        raise EnvironmentFault(f"report: the output folder cannot be written ({error.strerror});"
                               " give another one, or make room") from error
    return out / "report.html"


def _plain(report: Report) -> dict[str, object]:
    return {
        "title": report.title,
        "data": report.data,
        "warnings": report.warnings,
        "headline": table.headline(report.evaluation),
        "evaluation": report.evaluation.to_dict(),
        "facts": report.facts,
        "limits": _limits(report),
    }


def _limits(report: Report) -> list[str]:
    people = report.evaluation.holdout.labelled
    few = isinstance(people, int) and people < FEW  # else it is hidden
    rough = [f"Only {people} labelled people were evaluated: every figure is a rough one, as its interval says."]
    return [NOT_A_DEVICE, *(rough if few else []), *report.limits]


def _drawn(evaluation: Evaluation, individuals: bool) -> dict[str, Figure]:
    """The plots by name; none where nobody has an estimate. individuals: with those that have a point a person."""
    rows = [row for row in evaluation.rows if row.headline and row.pairs]
    if not rows:
        return {}
    longest = max(rows, key=lambda row: len(row.pairs))
    grams = {MANUAL: [manual for manual, _ in longest.pairs], **{row.label: [g for _, g in row.pairs] for row in rows}}
    drawn = {"distributions": plots.distributions(grams, MANUAL)}
    if individuals:
        drawn |= {"scatter": plots.scatter(rows), "bland-altman": plots.bland_altman(rows)}
    groups: dict[str, list[Bar]] = {}
    for g in evaluation.subgroups:
        a = g.agreement
        groups.setdefault(g.grouping, []).append(Bar(g.level, a.n, a.mae_g, a.mae_low, a.mae_high))
    if groups:
        whole = next(row for row in rows if row.label == evaluation.reference).agreement
        drawn["subgroups"] = plots.forest(groups, evaluation.reference or "", "mean absolute error (g)", whole.mae_g)
    if evaluation.coverages:
        drawn["coverage"] = _coverage(evaluation.coverages)
    return drawn


def _coverage(coverages: tuple[Covered, ...]) -> Figure:
    bars: dict[str, list[Bar]] = {}
    for found in coverages:
        c = found.coverage
        label = f"{found.grouping}: {found.level}" if found.grouping else found.level
        bars.setdefault(found.method, []).append(Bar(label, c.n, c.share, c.low, c.high))
    first = coverages[0].coverage
    band = None if first.expected_low is None or first.expected_high is None else (first.expected_low,
                                                                                   first.expected_high)
    return plots.forest(bars, "Manual mass inside the interval for one person", "share of people", first.level, band)


def _page(report: Report, drawn: Mapping[str, Figure]) -> str:
    return render(
        "report.html",
        report=report,
        evaluation=report.evaluation,
        table=table,
        published=published,
        individual=INDIVIDUAL if report.individuals and drawn else None,
        limits=_limits(report),
        plots={name: inline(figures.png(figure)) for name, figure in drawn.items()},
        pictures=[(picture, inline(picture.png)) for picture in report.pictures],
        worst=[(picture, inline(picture.png)) for picture in report.worst],
    )
