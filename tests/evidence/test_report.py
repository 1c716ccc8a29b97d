from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lvray.errors import EnvironmentFault
from lvray.evidence import table
from lvray.evidence.evaluation import Evaluation, evaluate
from lvray.evidence.people import Person
from lvray.evidence.report import Picture, Report, write_report

VOID = {"meta", "img", "link", "br"}


def result(n: int = 9) -> Evaluation:
    def side(prefix: str, count: int) -> list[Person]:
        masses = [60.0 + 7 * i for i in range(count)]
        return [Person(f"{prefix}{i}", g, {"ML4Hseg": g + 12 + (-1) ** i}, "male", 175.0, 75.0)
                for i, g in enumerate(masses)]

    return evaluate(side("t", 10), side("h", n))


def report(evaluation: Evaluation) -> Report:
    return Report(
        title="lvray evaluation", data="Phantoms <24>", evaluation=evaluation,
        pictures=(Picture("Outlines", 'Study "a" & <script>alert(1)</script>', b"\x89PNG"),),
        facts={"Data": {"manifest": "9f" * 32, "rejected": 0, "seed": None}}, limits=("Demo weights are for show.",),
    )


class Balance(HTMLParser):
    """Holds open tags against closed ones and gathers what the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_beside_it(tmp_path: Path) -> None:
    page = write_report(tmp_path / "new" / "out", report(result())).read_text("utf-8")
    reader = Balance()
    reader.feed(page)
    assert reader.open == []
    assert len(reader.sources) == 5  # the picture, and four plots
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources)
    assert not re.search(r"https?:|@import|url\(|<script", page)


def test_the_page_says_what_the_table_says(tmp_path: Path) -> None:
    found = result()
    page = write_report(tmp_path, report(found)).read_text("utf-8")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    for row in found.rows:
        assert all(cell in text for cell in table.cells(row))
    assert table.headline(found) in text
    for words in ("Not a medical device", "Demo weights are for show.", "9f" * 32, "every figure is a rough one"):
        assert words in text


def test_text_is_escaped(tmp_path: Path) -> None:
    page = write_report(tmp_path, report(result())).read_text("utf-8")
    assert "<script>" not in page
    assert "Phantoms &lt;24&gt;" in page


def test_json_holds_the_same_figures(tmp_path: Path) -> None:
    found = result()
    write_report(tmp_path, report(found))
    plain = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert plain["headline"] == table.headline(found)
    assert plain["evaluation"]["rows"][0]["agreement"]["mae_g"] == found.rows[0].agreement.mae_g
    assert plain["facts"]["Data"]["manifest"] == "9f" * 32


def test_the_same_report_has_the_same_bytes(tmp_path: Path) -> None:
    one, two = (write_report(tmp_path / name, report(result())) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert one.with_name("report.json").read_bytes() == two.with_name("report.json").read_bytes()


def test_a_report_about_nobody(tmp_path: Path) -> None:
    page = write_report(tmp_path, Report("lvray", "none", evaluate([], []))).read_text("utf-8")
    assert "nothing can be said" in page
    assert not re.search(r"\bnan\b|\bNone\b", page)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x")
    with pytest.raises(EnvironmentFault, match="cannot be written") as caught:
        write_report(blocked / "out", report(result()))
    assert os.fspath(tmp_path) not in str(caught.value)
