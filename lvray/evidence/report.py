"""The report: one self-contained report.html, and report.json with the same figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lvray.errors import EnvironmentFault
from lvray.evidence import figures, table
from lvray.evidence.evaluation import Evaluation
from lvray.evidence.page import inline, render

FEW = 30
"""Below so many holdout people the report says that its figures are rough."""
NOT_A_DEVICE = "Research use only. Not a medical device: no figure here may guide anyone's care."


@dataclass(frozen=True)
class Picture:
    """A PNG with its heading and the sentence below it."""

    title: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class Report:
    """What the page says. The scatter and the tables of results are made from the evaluation."""

    title: str
    data: str
    """What the data were, in a sentence: phantoms, Sunnybrook, the user's own."""
    evaluation: Evaluation
    pictures: tuple[Picture, ...] = ()
    facts: Mapping[str, Mapping[str, str | int | float | None]] = field(default_factory=dict)
    """Tables of name and value by heading: data (with the manifest's checksum), splits, settings, versions."""
    limits: tuple[str, ...] = ()
    """Further sentences on what the figures do not show."""


def write_report(out: Path, report: Report) -> Path:
    """Write report.html and report.json into `out`, made where absent; the path of the page.

    The page needs nothing beside it: pictures are inline, no script, no font, no network. The JSON holds no
    individual value. Same report, same bytes. EnvironmentFault where the folder cannot be written.
    """
    page, plain = _page(report), json.dumps(_plain(report), indent=2, allow_nan=False) + "\n"
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(plain, encoding="utf-8")
        (out / "report.html").write_text(page, encoding="utf-8")
    except OSError as error:
        raise EnvironmentFault(f"report: the output folder cannot be written ({error.strerror});"
                               " give another one, or make room") from error
    return out / "report.html"


def _plain(report: Report) -> dict[str, object]:
    return {
        "title": report.title,
        "data": report.data,
        "headline": table.headline(report.evaluation),
        "evaluation": report.evaluation.to_dict(),
        "facts": report.facts,
        "limits": _limits(report),
    }


def _limits(report: Report) -> list[str]:
    few = report.evaluation.holdout.labelled
    rough = [f"The holdout has {few} labelled people: every figure is a rough one, as its interval says."]
    return [NOT_A_DEVICE, *(rough if few < FEW else []), *report.limits]


def _page(report: Report) -> str:
    shown = [row for row in report.evaluation.rows if row.headline and row.pairs]
    return render(
        "report.html",
        report=report,
        evaluation=report.evaluation,
        table=table,
        limits=_limits(report),
        scatter=inline(figures.scatter(shown)) if shown else None,
        pictures=[(picture, inline(picture.png)) for picture in report.pictures],
    )
