"""tensorize again: nothing to do, more to do, a killed run's work, two at once, and what may not change."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lvray.jobs.tensorize import tensorize
from lvray.settings import Tensorize
from lvray.shards import manifest
from lvray.shards.dataset import open_dataset, rejects, verify

Lvray = Callable[..., Any]


@pytest.fixture
def src(cohort: Any, tmp_path: Path) -> Path:
    """Six good studies and one that is no zip, without labels."""
    folder = tmp_path / "src"
    folder.mkdir()
    for path in [*cohort.good[:6], cohort.bad[0]]:
        shutil.copy2(path, folder)
    return folder


@pytest.fixture
def again(cohort: Any, src: Path, tmp_path: Path, lvray: Lvray) -> Callable[..., Any]:
    """The command on `src`; again(option, ...) says what it answered."""
    return lambda *options, dst="shards": lvray("tensorize", src, tmp_path / dst, "--key", cohort.key, "--json",
                                                "--max-rejects", "0.5", *options)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def counts(said: Any) -> tuple[int, int, int, int, int]:
    (value,) = said.objects()
    return value["studies"], value["rows"], value["refused"], value["read"], value["generation"]


def test_the_same_again_does_nothing(again: Any, tmp_path: Path) -> None:
    assert counts(again()) == (7, 6, 1, 7, 1)
    before = files(tmp_path / "shards")
    assert counts(again()) == (7, 6, 1, 0, 1)
    assert files(tmp_path / "shards") == before
    assert not any(name.startswith(".lvray-work") for name in before)


def test_more_input_adds_only_that(again: Any, cohort: Any, src: Path, tmp_path: Path) -> None:
    again()
    before = files(tmp_path / "shards")
    for path in cohort.good[6:9]:
        shutil.copy2(path, src)
    assert counts(again()) == (10, 9, 1, 3, 2)
    after = files(tmp_path / "shards")
    assert {name: after[name] for name in before if name != "seen.parquet"} == {
        name: data for name, data in before.items() if name != "seen.parquet"}
    dataset = verify(str(tmp_path / "shards"))
    assert dataset.index.num_rows == len(set(dataset.column("study"))) == 9


def test_sources_that_were_copied_anew_are_known_by_their_bytes(again: Any, src: Path, tmp_path: Path) -> None:
    again()
    for path in src.iterdir():
        os.utime(path, (1, 1))
    before = files(tmp_path / "shards")
    assert counts(again()) == (7, 6, 1, 0, 1)
    kept = {name: data for name, data in files(tmp_path / "shards").items() if name != "seen.parquet"}
    assert kept == {name: data for name, data in before.items() if name != "seen.parquet"}


def test_a_refused_study_that_was_mended_becomes_a_row(again: Any, cohort: Any, src: Path, tmp_path: Path) -> None:
    again()
    shutil.copy(cohort.good[7], src / cohort.bad[0].name)
    assert counts(again()) == (7, 7, 0, 1, 2)
    assert rejects(verify(str(tmp_path / "shards"))).num_rows == 0


def test_a_study_that_changed_is_refused_and_the_data_set_stands(again: Any, cohort: Any, src: Path,
                                                                 tmp_path: Path) -> None:
    again()
    before = files(tmp_path / "shards")
    shutil.copy(cohort.good[7], src / cohort.good[1].name)
    said = again()
    assert (said.code, said.out) == (2, "")
    assert "1 studies of DST have another images in SRC now" in said.err
    assert files(tmp_path / "shards") == before


@pytest.mark.parametrize("options", [["--set=mask_rule=morphology"], ["--set=splits.seed=9"]])
def test_other_settings_are_refused(again: Any, options: list[str]) -> None:
    again()
    said = again(*options)
    assert said.code == 2
    assert f"DST was made with another {options[0][6:].split('=')[0]}" in said.err


def test_a_damaged_part_is_made_again(again: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again(dst="undisturbed")
    with monkeypatch.context() as patch:
        patch.setattr("lvray.jobs.tensorize.writer.write", _die)
        again()
    for part, keep in zip(sorted((tmp_path / "shards").rglob(".lvray-work/*/*")), (0, 100, -9), strict=False):
        part.write_bytes(part.read_bytes()[:keep])
    assert counts(again()) == (7, 6, 1, 7, 1)
    assert files(tmp_path / "shards") == files(tmp_path / "undisturbed")


def test_entries_that_cannot_be_read_are_rejects_and_tried_again(again: Any, cohort: Any, src: Path) -> None:
    (src / "1111111_20209_2_0.zip").symlink_to("nowhere")
    (src / "empty").mkdir()
    (value,) = again().objects()
    assert value["reject_reasons"] == {"no_dicom": 1, "unreadable_file": 2}
    assert counts(again())[1:] == (6, 3, 1, 1)
    (src / "1111111_20209_2_0.zip").unlink()
    shutil.copy(cohort.good[8], src / "1111111_20209_2_0.zip")
    assert counts(again()) == (9, 7, 2, 1, 2)


def test_another_file_with_the_same_time_is_noticed(again: Any, cohort: Any, src: Path) -> None:
    again()
    times = (src / cohort.good[1].name).stat()
    shutil.copy(cohort.good[7], src / cohort.good[1].name)
    os.utime(src / cohort.good[1].name, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert again().code == 2


def test_a_data_set_that_lost_a_shard_is_no_longer_added_to(again: Any, tmp_path: Path) -> None:
    again()
    next((tmp_path / "shards").glob("train-*")).unlink()
    said = again()
    assert (said.code, said.out) == (2, "")
    assert "is missing from the data set or has another size: tensorize into another DST" in said.err


def test_a_mistyped_uri_is_no_folder(src: Path, cohort: Any, lvray: Lvray) -> None:
    said = lvray("tensorize", src, "s3:/bucket/shards", "--key", cohort.key)
    assert (said.code, said.err) == (2, "lvray: a URI that begins with s3: but not with s3://\n")


def test_a_folder_called_work_is_the_users_own(cohort: Any, src: Path, tmp_path: Path, lvray: Lvray) -> None:
    src.rename(tmp_path / "work")
    assert lvray("tensorize", tmp_path / "work", tmp_path, "--key", cohort.key, "--max-rejects", "0.5").code == 0
    assert len(list((tmp_path / "work").iterdir())) == 7
    (tmp_path / "link").symlink_to(tmp_path / "work")
    assert lvray("tensorize", tmp_path / "work", tmp_path / "link", "--key", cohort.key).code == 2


def test_labels_and_lists_of_nobody_are_refused(again: Any, tmp_path: Path) -> None:
    (tmp_path / "splits.csv").write_text("id,split\n7777777,holdout\n")
    said = again("--splits", tmp_path / "splits.csv")
    assert said.code == 2
    assert "--splits: none of the ids is of a participant in SRC" in said.err


def test_other_labels_are_refused(again: Any, cohort: Any) -> None:
    again()
    said = again("--labels", cohort.src / "labels.tsv")
    assert said.code == 2
    assert "6 studies of DST have another label, contours or split" in said.err


def test_studies_that_left_the_source_keep_their_rows(again: Any, cohort: Any, src: Path) -> None:
    again()
    (src / cohort.good[0].name).unlink()
    (value,) = again().objects()
    assert (value["rows"], value["absent"]) == (6, 1)


def test_what_a_killed_run_had_done_is_not_read_again(again: Any, src: Path, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    again(dst="undisturbed")
    with monkeypatch.context() as patch:
        patch.setattr("lvray.jobs.tensorize.writer.write", _die)
        assert again().code == 1
    assert manifest.generations(str(tmp_path / "shards")) == []
    assert sum(name.startswith(".lvray-work") for name in files(tmp_path / "shards")) == 7
    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").rglob(".lvray-work/*/*")}
    monkeypatch.setattr("lvray.jobs.tensorize.storage.delete_tree", lambda *given: None)
    assert counts(again()) == (7, 6, 1, 7, 1)
    assert {path: path.stat().st_mtime_ns for path in parts} == parts
    monkeypatch.undo()
    assert counts(again()) == (7, 6, 1, 0, 1)
    assert files(tmp_path / "shards") == files(tmp_path / "undisturbed")


def _die(*arguments: Any, **named: Any) -> Any:
    raise RuntimeError("killed")


def test_two_at_once_end_with_one_data_set(again: Any, cohort: Any, src: Path, tmp_path: Path) -> None:
    again(dst="undisturbed")

    def run(_: int) -> int:
        made = tensorize(str(src), str(tmp_path / "shards"), key=cohort.key.read_bytes(), settings=Tensorize())
        return made.manifest.generation

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, range(2))) == [1, 1]
    assert files(tmp_path / "shards") == files(tmp_path / "undisturbed")


def test_listed_splits_and_all_phases(again: Any, cohort: Any, tmp_path: Path) -> None:
    eids = [path.name.split("_")[0] for path in cohort.good[:2]]
    (tmp_path / "splits.csv").write_text(f"id,split\n{eids[0]},calibration\n{eids[1]},holdout\n")
    (value,) = again("--splits", tmp_path / "splits.csv", "--phases", "all").objects()
    assert value["splits"].get("calibration", 0) >= 1
    dataset = open_dataset(str(tmp_path / "shards"))
    assert dataset.index["other_phases"].to_pylist() == [[2]] * 6
    assert set(dataset.index["es_phase"].to_pylist()) == {2}
