from __future__ import annotations

import json
import re

import pytest

from lvray.evidence import conformal, details, disclosure
from lvray.evidence.details import Outcome
from lvray.evidence.evaluation import evaluate
from lvray.evidence.overlap import Overlap
from lvray.evidence.people import Person, labelled


def people(n: int = 24) -> list[Person]:
    """Every third one flagged and 30 g off, the others 3 g; intervals of 10 g around the estimate."""
    found = []
    for i in range(n):
        manual, off = 70.0 + 2 * i, 30.0 if i % 3 == 0 else 3.0
        flags = frozenset({"phantom", *(["mask_gaps"] if i % 3 == 0 else [])})
        found.append(Person(f"p{i:02d}", manual, {"ML4Hseg": manual + off}, ("male", "female")[i % 2], 170.0, 70.0,
                            pixel_mm=1.7 + 0.01 * i, flags=flags, estimate_flags={"ML4Hseg": frozenset({"few_slices"})},
                            overlaps={"ML4Hseg": {name: Overlap(0.8, 1.0, 3.0) for name in
                                                  ("cavity", "myocardium", "epicardium")}},
                            intervals_g={"ML4Hseg": (manual + off - 10, manual + off + 10)}))
    return found


def fitted(by_sex: bool = False) -> conformal.Intervals:
    n = 50 if by_sex else 30
    return conformal.fit([100.0 + i for i in range(2 * n)], [100.0 + i + i % 7 for i in range(2 * n)],
                         [("male", "female")[i % 2] if by_sex else None for i in range(2 * n)], method="ML4Hseg",
                         kind="phantom", weights_sha256="0" * 64, data="1" * 64)


def test_a_flag_that_tells_of_errors_comes_first_and_one_that_all_have_last() -> None:
    first, *_, last = evaluate([], people()).flag_effects
    assert (first.flag, first.n_with, first.n_without, first.difference_g) == ("mask_gaps", 8, 16, 27.0)
    assert last.n_without == 0
    assert last.difference_g is None


def test_subgroups_cover_everybody_and_ignore_flags_that_all_have() -> None:
    by = {(g.grouping, g.level): g.agreement.n for g in evaluate([], people()).subgroups}
    assert by == {("sex", "female"): 12, ("sex", "male"): 12, ("manual mass", "lowest third"): 8,
                  ("manual mass", "middle third"): 8, ("manual mass", "highest third"): 8,
                  ("pixel size", "lowest third"): 8, ("pixel size", "middle third"): 8,
                  ("pixel size", "highest third"): 8, ("quality flags", "none"): 16,
                  ("quality flags", "some"): 8}


def test_the_worst_are_the_largest_errors() -> None:
    found = evaluate([], people())
    assert [case.participant for case in found.worst[:8]] == [f"p{i:02d}" for i in range(0, 24, 3)]
    assert found.worst[0].flags == ("few_slices", "mask_gaps", "phantom")
    assert len(found.worst) == details.WORST


def test_an_estimate_that_is_too_small_is_as_bad_as_one_too_large() -> None:
    found = evaluate([], [Person("large", 80.0, {"ML4Hseg": 90.0}), Person("small", 80.0, {"ML4Hseg": 60.0})])
    assert [case.participant for case in found.worst] == ["small", "large"]


def test_a_mass_above_its_interval_is_outside_as_one_below() -> None:
    spans = {"below": (90.0, 99.0), "above": (60.0, 70.0), "inside": (75.0, 85.0), "edge": (80.0, 90.0)}
    held = [Person(name, 80.0, {"ML4Hseg": 80.0}, intervals_g={"ML4Hseg": span}) for name, span in spans.items()]
    assert evaluate([], held, intervals=[fitted()]).coverages[0].coverage.covered == 2


def test_coverage_counts_whose_mass_is_inside() -> None:
    everybody, *groups = evaluate([], people(), intervals=[fitted()]).coverages
    assert (everybody.coverage.covered, everybody.coverage.n) == (16, 24)
    assert everybody.coverage.expected_low is not None
    assert {g.level for g in groups} == {"male", "female", "lowest third", "middle third", "highest third"}
    assert all(g.coverage.expected_low is None for g in groups)
    assert sum(g.coverage.covered for g in groups if g.grouping == "sex") == 16


def test_with_a_width_for_each_sex_each_sex_is_promised_its_coverage() -> None:
    everybody, *groups = evaluate([], people(), intervals=[fitted(by_sex=True)]).coverages
    assert everybody.coverage.expected_low is None
    assert [g.grouping for g in groups if g.coverage.expected_low is not None] == ["sex", "sex"]


def test_overlap_is_of_those_who_have_outlines() -> None:
    held = [*people(4), Person("bare", 80.0, {"ML4Hseg": 82.0})]
    myocardium = next(o for o in evaluate([], held).overlaps if o.structure == "myocardium")
    assert (myocardium.n, myocardium.mean_mm) == (4, 1.0)
    assert myocardium.dice == pytest.approx(0.8)


def test_outcomes_that_nobody_has_are_not_estimable() -> None:
    known = {p.participant: False for p in people()}
    outcome = Outcome(known, dict.fromkeys(known, 60.0))
    found = evaluate([], people(), outcomes={"heart failure": outcome})
    assert found.manual_odds["heart failure"].odds_ratio is None
    assert found.rows[0].odds["heart failure"].reason


def test_small_counts_are_hidden_and_with_them_their_figures() -> None:
    found = disclosure.hide(evaluate([], people(9)))
    plain = json.dumps(found.to_dict(), allow_nan=False)
    assert '"n": "<5"' in plain
    assert not re.search(r'"(n|n_with|n_without|both|covered)": [1-4]\b', plain)
    flagged = next(effect for effect in found.flag_effects if effect.flag == "mask_gaps")  # 3 with, 6 without
    assert vars(flagged) == {"flag": "mask_gaps", "n_with": "<5", "n_without": "hidden", "mae_with_g": None,
                             "mae_without_g": None, "difference_g": None, "low": None, "high": None}
    small = [g.agreement for g in found.subgroups if str(g.agreement.n) == disclosure.FEW]
    assert small
    assert all(a.mae_g is None for a in small)


def test_a_participants_second_study_is_left_out_and_counted() -> None:
    kept, counts = labelled([*people(3), *people(1)], ["ML4Hseg"])
    assert (len(kept), counts.rows, counts.repeats) == (3, 4, 1)
