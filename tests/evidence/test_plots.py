from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lvray.evidence import plots
from lvray.evidence.evaluation import evaluate
from lvray.evidence.figures import png, svg
from lvray.evidence.people import Person
from lvray.evidence.plots import Bar


def drawn() -> dict[str, Figure]:
    rng = np.random.default_rng(0)
    people = [Person(f"{i}", m, {"ML4Hseg": m + rng.normal(0, 8)}) for i, m in enumerate(rng.normal(90, 20, 12))]
    rows = evaluate([], people).rows
    bars = {"sex": [Bar("female", 5, 8.0, 5.0, 11.0), Bar("male", 2, None, None, None)]}
    return {"scatter": plots.scatter(rows), "bland-altman": plots.bland_altman(rows),
            "distributions": plots.distributions({"manual": [90.0, 100.0], "ML4Hseg": []}, "manual"),
            "forest": plots.forest(bars, "title", "g", 8.0, (6.0, 9.0))}


def test_every_plot_is_the_same_to_the_byte() -> None:
    one, two = drawn(), drawn()
    for name in one:
        for kind, begins in ((png, b"\x89PNG"), (svg, b"<?xml")):
            made = kind(one[name])
            assert made.startswith(begins)
            assert made == kind(two[name])
            assert b"Software" not in made
            assert b"Date" not in made


def test_the_limits_of_agreement_are_where_they_should_be() -> None:
    row = evaluate([], [Person(f"{i}", 80.0 + 3 * i, {"ML4Hseg": 85.0 + 3 * i + (-1) ** i}) for i in range(20)]).rows[0]
    axes = plots.bland_altman([row]).axes[0]
    heights = sorted({float(np.ravel(line.get_ydata())[0]) for line in axes.lines})
    a = row.agreement
    np.testing.assert_allclose(heights, sorted([0.0, a.bias_g or 0, a.loa_low or 0, a.loa_high or 0]))


def test_what_is_not_estimable_is_said() -> None:
    texts = [text.get_text() for text in drawn()["forest"].axes[0].texts]
    assert texts == ["not estimable"]


def test_plots_of_nobody() -> None:
    rows = evaluate([], []).rows
    for figure in (plots.scatter([]), plots.scatter(rows), plots.bland_altman(rows), plots.bland_altman([])):
        assert png(figure).startswith(b"\x89PNG")
