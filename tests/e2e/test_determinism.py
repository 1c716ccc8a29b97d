"""A run is a function of its data and recipe: whatever kills it, the same command ends with the same bytes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lvray.errors import LvrayError
from lvray.jobs import train
from lvray.nets.checkpoint import CHECKSUMS


def dying(after: int) -> Callable[[dict[str, Any]], None]:
    """A worker that is killed as a lost machine would, right after so many checkpoints."""

    def work(config: dict[str, Any]) -> None:
        from lvray.jobs import worker

        report, left = worker._report, after

        def reported(*arguments: Any) -> None:
            nonlocal left
            report(*arguments)
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        vars(worker)["_report"] = reported
        worker.work(config)

    return work


def test_a_killed_run_goes_on_and_ends_with_the_bytes_of_one_that_was_not(
        cohort: Any, seg: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(train, "work", dying(after=2))
        patch.setattr(train, "MAX_FAILURES", 0)
        with pytest.raises(LvrayError, match="training failed"):
            train.train(seg.recipe, str(cohort.shards), str(tmp_path))
    assert not (tmp_path / "best").exists()
    told: list[dict[str, float]] = []
    run = train.train(seg.recipe, str(cohort.shards), str(tmp_path), told.append)
    assert min(line["epoch"] for line in told if "lr" in line) > seg.recipe.validate_epochs  # it did not begin again
    for name in (CHECKSUMS, "weights.safetensors", "train.safetensors", "state.json"):
        assert Path(run.best, name).read_bytes() == (seg.best / name).read_bytes()
    assert (tmp_path / "history.json").read_bytes() == (seg.folder / "history.json").read_bytes()


def test_a_finished_run_returns_at_once(cohort: Any, seg: Any, lvray: Callable[..., Any],
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "TorchTrainer", None)
    before = {p: p.stat().st_mtime_ns for p in seg.folder.rglob("*") if p.is_file()}
    again = command(cohort, seg, lvray)
    assert (again.code, again.out) == (0, seg.said.out)
    assert {p: p.stat().st_mtime_ns for p in seg.folder.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("change", ["epochs=17", "workers=2", "stream.seed=1"])
def test_a_run_of_another_recipe_is_refused(cohort: Any, seg: Any, lvray: Callable[..., Any], change: str) -> None:
    said = command(cohort, seg, lvray, f"--set={change}")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("lvray: --run belongs to another recipe, data set or lvray version: ")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(("change", "says"), [
    ("network.box=4,32,32", "a train study has 6 slices, the network's box 4: --set network.box=6,32,32"),
    ("stream.batch=64", "training studies have a mask; recipe smoke_seg needs at least its batch of 64"),
])
def test_a_recipe_that_the_data_do_not_fit_is_refused_before_any_work(cohort: Any, lvray: Callable[..., Any],
                                                                      tmp_path: Path, change: str, says: str) -> None:
    said = lvray("train", "smoke_seg", "--data", cohort.shards, "--run", tmp_path, f"--set={change}")
    assert (said.code, said.out) == (2, "")
    assert says in said.err
    assert not (tmp_path / "run.json").exists()


def command(cohort: Any, seg: Any, lvray: Callable[..., Any], *more: str) -> Any:
    changes = [f"--set=network.{name}={json.dumps(value)}" for name, value in
               seg.recipe.network.model_dump(mode="json").items() if name not in ("kind", "centre")]
    return lvray("train", "smoke_seg", "--data", cohort.shards, "--run", seg.folder, "--json", *changes,
                 f"--set=optimiser.lr={seg.recipe.optimiser.lr}", f"--set=epochs={seg.recipe.epochs}", *more)


def test_what_the_train_command_says(seg: Any) -> None:
    assert seg.said.code == 0
    [made] = seg.said.objects()
    assert made["best"] == f"{seg.folder}/best"
    history = json.loads((seg.folder / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [4, 8, 12, 16]
    assert made == {"best": made["best"], **history[-1]}
    assert "smoke_seg: 16 of 16  loss " in seg.said.err
    best = json.loads((seg.best / "state.json").read_text())["metrics"]
    assert best == min(history, key=lambda entry: entry["validation_loss"])
