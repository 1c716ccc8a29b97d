"""Calibration, and evaluations that would flatter."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lvray.shards.dataset import open_dataset, select

Lvray = Callable[..., Any]


@pytest.fixture(scope="module")
def calibrated(cohort: Any, seg: Any, lvray: Lvray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the segmenter with intervals of level 0.5, which one calibration person is enough for."""
    best = tmp_path_factory.mktemp("calibrated") / "best"
    shutil.copytree(seg.best, best)
    said = lvray("calibrate", best, "--data", cohort.shards, "--level", "0.5", "--json")
    assert said.code == 0, said.err
    assert said.objects()[0]["n"] == len(select(open_dataset(str(cohort.shards)), ["calibration"], ["manual_g"]))
    return best


def test_intervals_go_with_every_prediction(cohort: Any, lvray: Lvray, calibrated: Path, tmp_path: Path) -> None:
    fitted = json.loads((calibrated / "intervals.json").read_text())
    assert (fitted["kind"], fitted["method"]) == ("phantom", "ML4Hseg")
    [found] = lvray("predict", cohort.good[0], "--checkpoint", calibrated, "--json").objects()
    low, high = found["interval_g"]
    assert low == 0 or high - low == pytest.approx(2 * fitted["half_g"])
    said = lvray("predict", cohort.good[0], "--checkpoint", calibrated)
    assert f"centred {found['centred_g']:.1f} g (50 % interval {low:.0f} to {high:.0f} g)" in said.out
    facts = lvray("checkpoint", "show", calibrated, "--json").objects()[0]
    assert facts["intervals"]["half_g"] == fitted["half_g"]


def test_the_report_shows_coverage(cohort: Any, lvray: Lvray, calibrated: Path, tmp_path: Path) -> None:
    said = lvray("evaluate", "--data", cohort.shards, "--checkpoint", calibrated, "--out", tmp_path, "--json")
    assert said.code == 0, said.err
    [found] = said.objects()
    everybody = found["coverages"][0]["coverage"]
    assert (everybody["n"], everybody["level"]) == (found["holdout"]["labelled"], 0.5)
    assert found["overlaps"][1]["structure"] == "myocardium"
    assert 0 < found["overlaps"][1]["dice"] < 1
    assert "phantom" in {effect["flag"] for effect in found["flag_effects"]}
    assert found["coverages"][0]["coverage"]["covered"] <= everybody["n"]
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {f"{name}.{kind}" for name in ("distributions", "scatter", "bland-altman", "subgroups", "coverage")
                     for kind in ("png", "svg")}
    page = (tmp_path / "report.html").read_text()
    assert "Individual-level images" in page
    assert "The largest errors" in page


def test_nothing_of_individuals_where_none_is_wanted(cohort: Any, lvray: Lvray, calibrated: Path,
                                                     tmp_path: Path) -> None:
    said = lvray("evaluate", "--data", cohort.shards, "--checkpoint", calibrated, "--out", tmp_path, "--no-pictures",
                 "--hide-small")
    assert said.code == 0, said.err
    page, plain = ((tmp_path / f"report.{kind}").read_text() for kind in ("html", "json"))
    assert "Individual-level images" not in page
    assert not any(participant[:8] in page + plain for participant in cohort.people)
    assert not re.search(r'"(n|covered|repeats|labelled|n_with|both|unknown)": [1-4]\b', plain)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"distributions", "subgroups", "coverage"}
    assert said.out.count("<5")


@pytest.mark.parametrize(("split", "says"), [
    ("train", "the training of ML4Hseg used "), ("validation", "the training of ML4Hseg used "),
    ("calibration", "the intervals of ML4Hseg used ")])
def test_people_who_were_used_are_refused_unless_asked_for(cohort: Any, lvray: Lvray, calibrated: Path, tmp_path: Path,
                                                           split: str, says: str) -> None:
    arguments = ["evaluate", "--data", cohort.shards, "--checkpoint", calibrated, "--out", tmp_path, "--split", split]
    said = lvray(*arguments)
    assert said.code == 2
    assert says in said.err
    assert len(said.err.splitlines()) == 1
    said = lvray(*arguments, "--allow-leakage")
    assert said.code == 0, said.err
    assert says in (tmp_path / "report.html").read_text()
    assert says in json.loads((tmp_path / "report.json").read_text())["warnings"][0]


def test_a_checkpoint_of_another_data_set_is_doubted_until_that_is_shown(cohort: Any, lvray: Lvray, calibrated: Path,
                                                                         tmp_path: Path) -> None:
    other = tmp_path / "other"
    said = lvray("tensorize", cohort.src, other, "--key", cohort.key, "--max-rejects", "0.2", "--json",
                 "--set=splits.holdout=0.5", "--set=splits.calibration=0", "--set=splits.validation=0")
    assert said.code == 0, said.err
    arguments = ["evaluate", "--data", other, "--checkpoint", calibrated, "--out", tmp_path / "report"]
    said = lvray(*arguments)
    assert said.code == 2
    assert "--trained-on URI" in said.err
    said = lvray(*arguments, "--trained-on", cohort.shards)
    assert said.code == 2
    held = {p for p, split in zip(*(open_dataset(str(other)).index[name].to_pylist() for name in
                                    ("participant", "split")), strict=True) if split == "holdout"}
    trained = sum(cohort.people[p] in ("train", "validation") for p in held)
    assert trained
    assert f"the training of ML4Hseg used {trained} of the {len(held)} people who are evaluated" in said.err


def test_too_few_calibration_people(cohort: Any, lvray: Lvray, seg: Any) -> None:
    said = lvray("calibrate", seg.best, "--data", cohort.shards)
    assert said.code == 2
    assert "an interval of level 0.9 needs 9" in said.err
    assert not (seg.best / "intervals.json").exists()


def test_intervals_of_other_weights_are_refused(lvray: Lvray, cohort: Any, reg: Any, calibrated: Path,
                                                tmp_path: Path) -> None:
    shutil.copytree(reg.best, tmp_path / "best")
    shutil.copy(calibrated / "intervals.json", tmp_path / "best")
    said = lvray("predict", cohort.good[0], "--checkpoint", tmp_path / "best")
    assert said.code == 2
    assert "belongs to other weights" in said.err
