"""Nothing of the holdout trains anything: not a network, not the centering, not the mean to beat."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lvray.evidence import evaluation
from lvray.jobs import evaluate
from lvray.shards.dataset import open_dataset


def rows(cohort: Any) -> dict[str, list[dict[str, Any]]]:
    """The index's rows by participant."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in open_dataset(str(cohort.shards)).index.to_pylist():
        found[row["participant"]].append(row)
    return found


def test_the_cohort_has_people_on_every_side(cohort: Any) -> None:
    counts = Counter(cohort.people.values())
    assert min(counts["train"], counts["holdout"], counts["validation"]) >= 2
    assert {cohort.people[p] for p in cohort.repeated} == {"train", "holdout"}


def test_splits_are_of_participants_and_repeat_visits_stay_together(cohort: Any) -> None:
    found = rows(cohort)
    assert {p: {row["split"] for row in theirs} for p, theirs in found.items()} == \
        {p: {split} for p, split in cohort.people.items()}
    for participant, theirs in found.items():
        assert {row["visit"] for row in theirs} == ({2, 3} if participant in cohort.repeated else {2})
        assert all((row["manual_g"] is not None) == (row["visit"] == 2) for row in theirs)


def test_a_shard_holds_one_split(cohort: Any) -> None:
    for part in open_dataset(str(cohort.shards)).manifest.shards:
        table = pq.read_table(cohort.shards / part.name, columns=["split"])
        assert set(table["split"].to_pylist()) == {part.name.split("-")[0]}


@pytest.mark.parametrize(("network", "needs"), [("seg", "has_mask"), ("reg", "manual_g")])
def test_workers_read_their_own_split_alone(cohort: Any, network: str, needs: str,
                                            request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(network)
    usable = Counter(p for p, theirs in rows(cohort).items() for row in theirs if row[needs])
    for what, seen in run.seen.items():
        assert {cohort.people[p] for p in seen} == {what}
        assert set(seen) <= set(usable)
    in_train = sum(n for p, n in usable.items() if cohort.people[p] == "train")
    batch = run.recipe.stream.batch
    assert len(run.seen["train"]) == run.recipe.epochs * (in_train // batch) * batch
    in_validation = {p: n for p, n in usable.items() if cohort.people[p] == "validation"}
    validations = run.recipe.epochs // run.recipe.validate_epochs
    assert Counter(run.seen["validation"]) == {p: n * validations for p, n in in_validation.items()}


def test_centering_and_baseline_are_of_training_people(cohort: Any, seg: Any, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[Any]] = []
    real = evaluation.evaluate

    def noted(training: list[Any], holdout: list[Any], methods: Any, **more: Any) -> Any:
        given.extend([training, holdout])
        return real(training, holdout, methods, **more)

    monkeypatch.setattr(evaluate, "evaluate", noted)
    made, _ = evaluate.run(str(cohort.shards), [str(seg.best)], str(tmp_path), evaluate.Ask("A test."))
    for people, split in zip(given, ("train", "holdout"), strict=True):
        assert {cohort.people[p.participant] for p in people} == {split}
    assert made.holdout.labelled == Counter(cohort.people.values())["holdout"]
    assert made.holdout.repeats == 1
