from __future__ import annotations

import dataclasses

import pytest

from lvray.evidence import table
from lvray.evidence.agreement import Margin
from lvray.evidence.evaluation import Evaluation, evaluate
from lvray.evidence.people import Person


def found(n: int) -> Evaluation:
    def side(prefix: str, count: int) -> list[Person]:
        masses = [60.0 + 7 * i for i in range(count)]
        return [Person(f"{prefix}{i}", g, {"ML4Hseg": g + 12 + (-1) ** i}, "male") for i, g in enumerate(masses)]

    return evaluate(side("t", 10), side("h", n))


def test_the_table_fits_a_terminal_and_lines_up() -> None:
    lines = table.table(found(9)).splitlines()
    assert max(map(len, lines[:8])) <= 80
    starts = {line.index(cell) for line, cell in zip(lines[2:4], ("9", "0"), strict=True)}
    assert starts == {lines[0].index("n ")}
    assert any(line.startswith("predict the mean") for line in lines)
    assert [line.split(":")[0] for line in lines[-2:]] == ["ML4Hseg (centred)", "ML4Hseg (raw)"]


def test_a_headline_in_words() -> None:
    text = table.headline(found(9))
    assert text.startswith("On 9 people, LV mass by ML4Hseg (centred) was off by 1.0 g (95% CI ")
    assert "closer than predicting the mean (95% CI" in text


def test_a_headline_without_people() -> None:
    assert "nothing can be said" in table.headline(evaluate([], []))
    assert table.headline(found(1)).startswith("On 1 person,")
    assert "too few people" in table.headline(found(2))


@pytest.mark.parametrize(("margin", "words"), [
    (Margin(8, 6.0, 2.0, 10.0), "6.0 g closer than predicting the mean (95% CI 2.0 to 10.0)"),
    (Margin(8, 6.0, -2.0, 14.0), "6.0 g closer than predicting the mean (95% CI -2.0 to 14.0), and may be chance"),
    (Margin(8, -6.0, -9.0, 2.0), "6.0 g further off than predicting the mean (95% CI -2.0 to 9.0), and may be chance"),
    (Margin(8, -6.0, -10.0, -2.0), "6.0 g further off than predicting the mean (95% CI 2.0 to 10.0)"),
    (Margin(0, None, None, None), ""),
    (None, ""),
])
def test_the_margin_in_words(margin: Margin | None, words: str) -> None:
    assert table.margin_words(dataclasses.replace(found(9).rows[0], margin=margin)) == words


@pytest.mark.parametrize(("p", "text"), [(None, "–"), (0.0004, "<.001"), (0.0104, ".010"), (0.99999, "1.000")])
def test_p(p: float | None, text: str) -> None:
    assert table.p_text(p) == text
