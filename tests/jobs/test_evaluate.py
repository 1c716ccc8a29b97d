"""Evaluations of odd people: each a clear line or an honest dash, never a warning or a crash. No network here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lvray.errors import UseError
from lvray.evidence.evaluation import Evaluation
from lvray.evidence.table import table
from lvray.jobs.evaluate import Ask, External, run
from lvray.settings import Splits, Tensorize
from lvray.shards.dataset import open_dataset
from tests.jobs.conftest import tiny_row
from tests.shards.conftest import write_to

HELD = Tensorize(splits=Splits(validation=0.0, calibration=0.0, holdout=0.5))
Evaluate = Callable[..., Evaluation]


@pytest.fixture
def evaluated(tmp_path: Path, ray_cluster: None) -> Evaluate:
    """Of holdout rows with these changes, and 6 training rows; `off` is what the others' method adds to a mass."""

    def evaluated(changes: list[dict[str, Any]], off: Callable[[float], float | None] = lambda g: g + 3,
                  training: int = 6, **ask: Any) -> Evaluation:
        held = [tiny_row(n, split="holdout", **change) for n, change in enumerate(changes)]
        train = [tiny_row(n, split="train") for n in range(50, 50 + training)]
        dataset = write_to(str(tmp_path / "data"), [*held, *train], HELD)
        index = dataset.index.to_pylist()
        grams = {row["participant"]: off(row["manual_g"] or 90.0) for row in index}
        made, uri = run(dataset.uri, [], str(tmp_path / "report"), Ask("A test.", external={"theirs": External(grams)},
                                                                       **ask))
        page = Path(uri)
        assert not re.search(r"\b(nan|inf|None)\b", re.sub("<[^>]+>", " ", page.read_text()))
        json.loads((tmp_path / "report" / "report.json").read_text())
        assert "Whether theirs was trained on these people, lvray cannot know." in page.read_text()
        assert table(made)
        return made

    return evaluated


def theirs(made: Evaluation) -> Any:
    return next(row for row in made.rows if row.method == "theirs" and not row.centred)


def test_three_people(evaluated: Evaluate) -> None:
    row = theirs(evaluated([{}] * 3))
    assert (row.agreement.n, row.agreement.mae_g) == (3, pytest.approx(3.0))
    assert row.agreement.mae_low is None


def test_nobody(evaluated: Evaluate) -> None:
    with pytest.raises(UseError, match="nobody in holdout: tensorize with a larger share"):
        evaluated([])


def test_nobody_with_a_label(evaluated: Evaluate) -> None:
    made = evaluated([{"manual_g": None}] * 5)
    assert (made.holdout.rows, made.holdout.unlabelled, made.holdout.labelled) == (5, 5, 0)
    assert theirs(made).agreement.mae_g is None


def test_a_constant_estimator(evaluated: Evaluate) -> None:
    row = theirs(evaluated([{"manual_g": 70.0 + 5 * n} for n in range(8)], lambda g: 90.0))
    assert row.agreement.r is None
    assert row.agreement.ccc is None
    assert row.agreement.mae_g is not None


def test_a_constant_truth(evaluated: Evaluate) -> None:
    row = theirs(evaluated([{"manual_g": 90.0}] * 8))
    assert row.agreement.r is None
    assert row.agreement.sd_g == 0


def test_an_estimator_without_estimates(evaluated: Evaluate) -> None:
    made = evaluated([{}] * 5, lambda g: None)
    assert theirs(made).agreement.n == 0
    assert made.holdout.estimated["theirs"] == 0


def test_one_sex_only(evaluated: Evaluate) -> None:
    made = evaluated([{"sex": "female", "manual_g": 60.0 + 4 * n} for n in range(12)], lambda g: g + g % 7)
    assert [g.level for g in made.subgroups if g.grouping == "sex"] == ["female"]


def test_masses_out_of_range_and_second_studies_are_counted_and_left_out(evaluated: Evaluate) -> None:
    first = tiny_row(0).participant
    made = evaluated([{}, {"participant": first}, {"manual_g": 500.0}, {"manual_g": 0.0}, {"manual_g": -4.0}, {}])
    counts = made.holdout
    assert (counts.rows, counts.repeats, counts.out_of_range, counts.labelled) == (6, 1, 3, 2)


def test_a_second_study_with_a_label_stands_in_for_a_first_without(evaluated: Evaluate) -> None:
    first = tiny_row(0).participant
    made = evaluated([{"manual_g": None}, {"participant": first}, {}])
    assert (made.holdout.repeats, made.holdout.unlabelled, made.holdout.labelled) == (1, 0, 2)
    assert tiny_row(1).study in {case.study for case in made.worst}  # whose picture is shown


def test_without_training_people(evaluated: Evaluate) -> None:
    made = evaluated([{"manual_g": 80.0 + 3 * n} for n in range(6)], training=0)
    assert (made.baseline, made.centerings) == (None, {})
    assert theirs(made).agreement.n == 6


def test_masses_that_are_all_the_same_in_a_subgroup(evaluated: Evaluate) -> None:
    changes = [{"manual_g": 60.0 if n < 6 else 70.0 + 5 * n, "sex": "female" if n < 6 else "male"} for n in range(15)]
    made = evaluated(changes, lambda g: g + g % 7)
    same = next(g.agreement for g in made.subgroups if g.level == "female")
    assert (same.slope, same.r) == (None, None)


def test_the_same_study_under_another_id_is_noticed(evaluated: Evaluate) -> None:
    with pytest.raises(UseError, match="centering used 0 of the 3 people who are evaluated, and 1 of their studies"):
        evaluated([{}, {}, {"source": tiny_row(50).source}])


def test_people_nobody_has_heard_of(evaluated: Evaluate, tmp_path: Path) -> None:
    evaluated([{}] * 3)
    stranger = {"theirs": External({"0" * 32: 90.0})}
    with pytest.raises(UseError, match="theirs: none of its participants is in the data set"):
        run(open_dataset(str(tmp_path / "data")).uri, [], str(tmp_path / "report"),
            Ask("A test.", external=stranger))


def test_training_people_are_refused_where_centering_used_them(evaluated: Evaluate) -> None:
    with pytest.raises(UseError, match="centering used 6 of the 6 people who are evaluated, and 6 of their studies"):
        evaluated([{}] * 3, splits=("train",))
    made = evaluated([{}] * 3, splits=("train",), allow_leakage=True)
    assert made.holdout.labelled == 6
