"""Every study is accounted for, and the exit code says what became of the refused."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lvray.shards.dataset import open_dataset, rejects, verify

STUDIES, BAD = 21, 3
"""16 phantoms, two of them twice, and three that are refused."""
Lvray = Callable[..., Any]


def test_tensorize_counts_rows_and_rejects(cohort: Any) -> None:
    assert cohort.tensorized.code == 0
    [counts] = cohort.tensorized.objects()
    assert (counts["studies"], counts["rows"], counts["refused"]) == (STUDIES, STUDIES - BAD, BAD)
    assert sum(counts["splits"].values()) == STUDIES - BAD
    assert f"tensorize: {STUDIES} of {STUDIES}  {BAD} refused" in cohort.tensorized.err


def test_rejects_say_why_and_which(cohort: Any) -> None:
    dataset = verify(str(cohort.shards))
    table = rejects(dataset).to_pylist()
    assert Counter(row["reason"] for row in table) == {"unreadable_file": 2, "unsafe_archive": 1}
    names = sorted(p.name for p in cohort.src.iterdir() if p.suffix != ".tsv")
    assert [names[row["position"] - 1] for row in table] == [p.name for p in cohort.bad]
    assert all(re.fullmatch("[0-9a-f]{32}", row["study"]) and row["detail"] for row in table)


def test_shards_show(cohort: Any, lvray: Lvray, tmp_path: Path) -> None:
    said = lvray("shards", "show", cohort.shards, "--json", "--sheet", tmp_path / "sheet.png")
    [summary] = said.objects()
    assert summary["reject_reasons"] == {"unreadable_file": 2, "unsafe_archive": 1}
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert f"rows: {STUDIES - BAD}" in lvray("shards", "show", cohort.shards).out
    assert lvray("shards", "verify", cohort.shards).code == 0


@pytest.mark.parametrize(("share", "code"), [("0.1", 3), ("0", 3), ("0.16", 0)])
def test_max_rejects_decides_between_0_and_3(cohort: Any, lvray: Lvray, share: str, code: int) -> None:
    """The same data set again, which changes nothing in it."""
    before = {p: p.read_bytes() for p in cohort.shards.iterdir()}
    said = tensorize(cohort, lvray, cohort.shards, "--max-rejects", share)
    assert said.code == code
    assert said.objects() == [{**cohort.tensorized.objects()[0], "read": 0}]
    assert (f"{BAD} of {STUDIES} studies refused, more than --max-rejects" in said.err) == (code == 3)
    assert {p: p.read_bytes() for p in cohort.shards.iterdir()} == before


def tensorize(cohort: Any, lvray: Lvray, dst: Path, *more: object) -> Any:
    splits = open_dataset(str(cohort.shards)).manifest.settings.splits
    return lvray("tensorize", cohort.src, dst, "--key", cohort.key, "--json", *more,
                 *(f"--set=splits.{name}={value}" for name, value in splits.model_dump().items()))


def test_another_key_is_refused_before_any_work(cohort: Any, lvray: Lvray, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("another key for tests, also long")
    said = lvray("tensorize", cohort.src, cohort.shards, "--key", tmp_path / "key")
    assert (said.code, said.out) == (2, "")
    assert re.fullmatch("lvray: the data set was made with the key [0-9a-f]{16}, not with [0-9a-f]{16}: .*\n", said.err)


def test_a_source_without_studies(cohort: Any, lvray: Lvray, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "notes.txt").write_text("nothing here")
    said = lvray("tensorize", tmp_path / "src", tmp_path / "dst", "--key", cohort.key)
    assert (said.code, said.out) == (2, "")
    assert said.err == "lvray: SRC holds no studies: a folder of zips, or of folders with DICOM files, is wanted\n"
    assert not (tmp_path / "dst").exists()


def test_a_destination_inside_the_source_is_refused(cohort: Any, seg: Any, lvray: Lvray) -> None:
    inside = cohort.src / "made"
    for arguments in (["tensorize", cohort.src, inside],
                      ["predict", cohort.src, "--checkpoint", seg.best, "--out", inside]):
        said = lvray(*arguments, "--key", cohort.key)
        assert said.code == 2
        assert "lies inside SRC" in said.err
    assert not inside.exists()


def test_outputs_that_cannot_be_written(cohort: Any, seg: Any, lvray: Lvray, tmp_path: Path) -> None:
    """A file stands where a folder is wanted: root may write anywhere else."""
    taken = tmp_path / "taken"
    taken.write_text("")
    for arguments in (["tensorize", cohort.src, taken, "--key", cohort.key],
                      ["train", "smoke_seg", "--data", cohort.shards, "--run", taken],
                      ["evaluate", "--data", cohort.shards, "--out", taken],
                      ["predict", cohort.src, "--checkpoint", seg.best, "--key", cohort.key, "--out", taken],
                      ["predict", cohort.good[0], "--checkpoint", seg.best, "--mask", taken / "mask.nii.gz"],
                      ["shards", "show", cohort.shards, "--sheet", taken / "sheet.png"],
                      ["phantom", "--out", taken, "--participants", "1"]):
        said = lvray(*arguments)
        assert said.code == 4, arguments
        assert said.err.startswith("lvray: cannot write ")
        assert said.err.count("\n") == 1
        assert str(tmp_path) not in said.err


def test_cohort_predict_counts_estimates_and_rejects(cohort: Any, predicted: Any) -> None:
    assert predicted.said.code == 0
    assert predicted.said.objects() == [{"studies": STUDIES, "estimated": STUDIES - BAD, "refused": BAD}]
    estimates = pq.read_table(predicted.folder / "estimates.parquet").to_pylist()
    refused = pq.read_table(predicted.folder / "rejects.parquet").to_pylist()
    assert (len(estimates), len(refused)) == (STUDIES - BAD, BAD)
    assert {row["participant"] for row in estimates} == set(cohort.people)
    assert all(row["mass_g"] > 0 and "demo_weights" in row["quality"] for row in estimates)
    assert json.loads(estimates[0]["network"])["recipe"] == "smoke_seg"


def test_named_studies_one_json_each_and_the_rest_goes_on(cohort: Any, seg: Any, lvray: Lvray) -> None:
    studies = [cohort.good[0], cohort.bad[0], cohort.good[1], cohort.bad[2]]
    said = lvray("predict", *studies, "--checkpoint", seg.best, "--json")
    assert said.code == 3
    assert [found["study"] for found in said.objects()] == [1, 2, 3, 4]
    assert ["mass_g" in found for found in said.objects()] == [True, False, True, False]
    assert [line.split(":")[0] for line in said.err.splitlines()] == ["study 2", "study 4"]
    assert {"network", "versions"} <= set(said.objects()[0])
    absent = lvray("predict", cohort.good[0], cohort.src / "absent.zip", "--checkpoint", seg.best)
    assert (absent.code, absent.out) == (2, "")
    assert absent.err.startswith("lvray: study 2: ")


def test_the_cohort_form_and_the_named_form_agree(cohort: Any, seg: Any, predicted: Any, lvray: Lvray) -> None:
    for row in pq.read_table(predicted.folder / "estimates.parquet").to_pylist()[:2]:
        rows = link(cohort, lvray, predicted.folder / "estimates.parquet", "study")
        name = next(line["id"] for line in rows if line["study"] == row["study"])
        [found] = lvray("predict", cohort.src / name, "--checkpoint", seg.best, "--json").objects()
        assert found["mass_g"] == row["mass_g"]


def link(cohort: Any, lvray: Lvray, table: Path, column: str) -> list[dict[str, str]]:
    """The table's rows with ids, joined by one column of hashes."""
    file = cohort.shards.parent / f"{column}.csv"
    hashes = pq.read_table(table, columns=[column])[column].to_pylist()
    file.write_text("\n".join([column, *hashes]) + "\n")
    said = lvray("link", file, "--key", cohort.key, "--src", cohort.src)
    assert said.code == 0
    return list(csv.DictReader(io.StringIO(said.out)))


def test_link_joins_hashes_back_to_ids(cohort: Any, predicted: Any, lvray: Lvray) -> None:
    names = {p.name for p in cohort.src.iterdir()}
    for name in ("estimates", "rejects"):
        rows = link(cohort, lvray, predicted.folder / f"{name}.parquet", "study")
        assert rows
        assert {row["id"] for row in rows} <= names
    whole = lvray("link", predicted.folder / "estimates.parquet", "--key", cohort.key, "--src", cohort.src)
    people = list(csv.DictReader(io.StringIO(whole.out)))
    assert {row["id"] for row in people} == {p.name[:7] for p in cohort.good}
    assert float(people[0]["mass_g"]) > 0
    (cohort.shards.parent / "other").write_text("another key for tests, also long")
    wrong = lvray("link", predicted.folder / "estimates.parquet", "--key", cohort.shards.parent / "other",
                  "--src", cohort.src)
    assert (wrong.code, wrong.out) == (2, "")
    assert "is this the key that they were made with?" in wrong.err


def test_the_report_stands_alone_and_states_the_margin(cohort: Any, evaluated: Any) -> None:
    assert evaluated.said.code == 0
    page = (evaluated.folder / "report.html").read_text()
    assert not re.search(r"""<script|<link|@import|url\(|(src|href)=["'](?!data:|#)""", page)
    assert "they show how lvray works and say nothing about real hearts" in page
    [found] = evaluated.said.objects()
    rows = {(row["method"], row["centred"]): row for row in found["rows"]}
    held_out = sum(split == "holdout" for split in cohort.people.values())
    assert found["holdout"]["rows"] == held_out + 1  # one came twice
    assert rows["ML4Hseg", True]["agreement"]["n"] == rows["ML4Hreg", False]["agreement"]["n"] == held_out
    margin = rows["ML4Hseg", True]["margin"]["margin_g"]
    assert f"{abs(margin):.1f} g {'closer' if margin > 0 else 'further off'} than predicting the mean" in page
    assert rows["Theirs", False]["agreement"]["n"] == held_out
    assert rows["masks", False]["agreement"]["n"] == 1
    assert found["holdout"]["estimated"]["Never"] == 0


def test_estimates_of_nobody_in_the_data_set_are_refused(cohort: Any, lvray: Lvray, tmp_path: Path) -> None:
    (tmp_path / "theirs.csv").write_text("participant,Theirs\n1234567,90\n")
    said = lvray("evaluate", "--data", cohort.shards, "--estimates", tmp_path / "theirs.csv", "--key", cohort.key,
                 "--out", tmp_path / "report")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("lvray: Theirs: none of its participants is in the data set")


def test_two_checkpoints_of_one_network_are_refused(cohort: Any, seg: Any, lvray: Lvray, tmp_path: Path) -> None:
    said = lvray("evaluate", "--data", cohort.shards, "--checkpoint", seg.best, "--checkpoint", seg.best,
                 "--out", tmp_path)
    assert said.code == 2
    assert "two checkpoints of one network" in said.err
