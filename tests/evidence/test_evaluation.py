from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from lvray.errors import UseError
from lvray.evidence.evaluation import Evaluation, Method, Row, evaluate
from lvray.evidence.people import Person

ALL = ("ML4Hseg", "ML4Hreg", "InlineVF")


def person(name: str, manual: float | None, sex: str | None = "male", **estimates: float | None) -> Person:
    return Person(name, manual, estimates, sex, height_cm=175.0, weight_kg=75.0)


def cohort(prefix: str, n: int, seed: int) -> list[Person]:
    """People whose InlineVF, and the segmenter that learned it, is 30 g too large in men and 15 g in women."""
    rng = np.random.default_rng(seed)
    people = []
    for i in range(n):
        sex, shift = (("male", 30.0), ("female", 15.0))[i % 2]
        manual = float(rng.normal(90, 22))
        seg, reg, inline = manual + shift + rng.normal(0, 6, 3)
        people.append(person(f"{prefix}{i}", manual, sex, ML4Hseg=float(seg), ML4Hreg=float(reg - shift),
                             InlineVF=float(inline)))
    return people


def row(evaluation: Evaluation, method: str, centred: bool) -> Row:
    return next(r for r in evaluation.rows if (r.method, r.centred) == (method, centred))


def test_each_method_raw_and_centred_with_the_headline_forms_first() -> None:
    found = evaluate(cohort("t", 40, 0), cohort("h", 30, 1))
    assert [r.label for r in found.rows] == ["ML4Hseg (centred)", "ML4Hreg (raw)", "InlineVF (centred)",
                                             "ML4Hseg (raw)", "ML4Hreg (centred)", "InlineVF (raw)"]
    assert [r.headline for r in found.rows] == [True] * 3 + [False] * 3
    assert found.reference == "ML4Hseg (centred)"


def test_centering_takes_each_sexs_bias_away() -> None:
    found = evaluate(cohort("t", 40, 0), cohort("h", 30, 1))
    assert row(found, "InlineVF", False).agreement.bias_g == pytest.approx(22.5, abs=3)
    assert row(found, "InlineVF", True).agreement.bias_g == pytest.approx(0, abs=3)
    assert found.centerings["InlineVF"].by_sex_g["male"] == pytest.approx(30, abs=3)
    assert found.centerings["InlineVF"].n_by_sex == {"female": 20, "male": 20}
    margin = row(found, "ML4Hseg", True).margin
    assert margin is not None
    assert margin.low is not None
    assert margin.low > 0


def test_holdout_labels_touch_neither_centering_nor_the_baseline() -> None:
    train, held = cohort("t", 40, 0), cohort("h", 30, 1)
    moved = [dataclasses.replace(p, manual_g=(p.manual_g or 0) + 20) for p in held]
    before, after = evaluate(train, held), evaluate(train, moved)
    assert before.centerings == after.centerings
    assert [r.pairs[0][1] for r in before.rows] == [r.pairs[0][1] for r in after.rows]
    assert before.baseline is not None
    assert after.baseline is not None
    assert (after.baseline.bias_g or 0) - (before.baseline.bias_g or 0) == pytest.approx(-20)


def test_a_person_on_both_sides_is_refused() -> None:
    train = cohort("t", 8, 0)
    with pytest.raises(UseError, match="both in training and in the holdout"):
        evaluate(train, [*cohort("h", 8, 1), train[3]])


def test_every_row_is_counted_in_or_out() -> None:
    held = [
        person("a", 90.0, ML4Hseg=100.0, ML4Hreg=91.0, InlineVF=None),
        person("a", 95.0, ML4Hseg=500.0, ML4Hreg=500.0, InlineVF=500.0),
        person("b", None, ML4Hseg=100.0),
        person("c", math.nan, ML4Hseg=100.0),
        person("d", 500.0, ML4Hseg=100.0),
        person("e", 80.0, ML4Hseg=85.0, InlineVF=99.0),
        person("f", 120.0, ML4Hseg=130.0, ML4Hreg=118.0, InlineVF=150.0),
    ]
    found = evaluate(cohort("t", 8, 0), held)
    counts = found.holdout
    assert (counts.rows, counts.repeats, counts.unlabelled, counts.out_of_range, counts.labelled) == (7, 1, 1, 2, 3)
    assert counts.estimated == {"ML4Hseg": 3, "ML4Hreg": 2, "InlineVF": 2}
    assert [(r.method, r.agreement.n, r.common.n) for r in found.rows[:3]] == [
        ("ML4Hseg", 3, 1), ("ML4Hreg", 2, 1), ("InlineVF", 2, 1)]
    assert row(found, "ML4Hseg", False).pairs == ((90.0, 100.0), (80.0, 85.0), (120.0, 130.0))


def test_p_compares_methods_on_the_people_both_have() -> None:
    held = cohort("h", 40, 1)
    rng = np.random.default_rng(5)
    blurred = [dataclasses.replace(p, estimates_g={**p.estimates_g, "InlineVF": float(g)})
               for p, g in zip(held, rng.normal(100, 20, 40), strict=True)]
    found = evaluate(cohort("t", 40, 0), blurred)
    inline, reg = row(found, "InlineVF", True).p_reference, row(found, "ML4Hreg", False).p_reference
    assert inline is not None
    assert reg is not None
    assert inline < 0.001 < reg
    assert row(found, "ML4Hseg", False).p_reference is None


def test_without_training_labels_the_raw_forms_head_the_table() -> None:
    found = evaluate([], cohort("h", 10, 1))
    assert [r.label for r in found.rows] == [f"{name} (raw)" for name in ALL]
    assert found.baseline is None
    assert all(r.headline and r.margin is None for r in found.rows)


def test_nobody_labelled_is_not_estimable_rather_than_an_error() -> None:
    found = evaluate(cohort("t", 8, 0), [person("h", None, ML4Hseg=90.0)])
    assert found.reference is None
    assert {r.agreement.n for r in found.rows} == {0}
    json.dumps(found.to_dict(), allow_nan=False)


def test_an_estimate_that_is_no_number_is_refused_by_hash_not_dropped() -> None:
    with pytest.raises(UseError, match="ML4Hseg estimate of participant h is nan"):
        evaluate(cohort("t", 8, 0), [person("h", 90.0, ML4Hseg=math.nan)])


def test_methods_of_other_names_stand_beside_the_papers() -> None:
    held = [person(f"h{i}", 80.0 + i, theirs=81.0 + i) for i in range(6)]
    found = evaluate([], held, methods=[Method("theirs", centred=True)])
    assert row(found, "theirs", False).agreement.mae_g == pytest.approx(1.0)


def test_lvh_cells() -> None:
    area = 1.9040  # m2, DuBois, of 175 cm and 75 kg
    held = [person("a", 73 * area, ML4Hseg=71 * area), person("b", 71 * area, ML4Hseg=73 * area),
            person("c", 73 * area, ML4Hseg=80 * area), person("d", 60 * area, "female", ML4Hseg=50 * area),
            person("e", 90 * area, None, ML4Hseg=90 * area)]
    lvh = row(evaluate([], held), "ML4Hseg", False).lvh
    assert (lvh.both, lvh.manual_only, lvh.estimate_only, lvh.neither) == (1, 2, 1, 0)


def test_plain_data_holds_no_individual_value() -> None:
    held = cohort("h", 10, 1)
    text = json.dumps(evaluate(cohort("t", 10, 0), held).to_dict(), allow_nan=False)
    assert "pairs" not in text
    assert not any(str(p.manual_g) in text for p in held)
