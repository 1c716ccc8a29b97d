"""A run is a function of its data and recipe: whatever kills it, the same command ends with the same bytes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lvray import recipes
from lvray.jobs import fit, train


def dying(epoch: int, step: int, marks: Path) -> Callable[[dict[str, Any]], None]:
    """A worker that is killed, once, as a lost machine would be, as it is about to do a step."""

    def work(config: dict[str, Any]) -> None:
        from lvray.jobs import loop, worker

        doing = loop._step

        def dies(job: Any, at: Any, position: Any, batch: Any) -> Any:
            if position == (epoch, step) and not marks.exists():
                marks.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return doing(job, at, position, batch)

        vars(loop)["_step"] = dies
        worker.work(config)

    return work


def test_a_run_whose_worker_is_killed_ends_with_the_bytes_of_one_that_was_not(
        cohort: Any, seg: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipes.override(seg.recipe, ["saving.seconds=0"])
    monkeypatch.setattr(fit, "work", dying(9, 0, tmp_path / "died"))
    told: list[dict[str, Any]] = []
    run = train.train(recipe, str(cohort.shards), str(tmp_path / "run"), tell=told.append)
    first, again = (line["begins"] for line in told if "begins" in line)
    assert first == (0, 0) < again <= (9, 0)
    for name in ("weights.safetensors", "train.safetensors"):
        assert Path(run.best, name).read_bytes() == (seg.best / name).read_bytes()
    assert (tmp_path / "run" / "history.json").read_bytes() == (seg.folder / "history.json").read_bytes()


def test_a_finished_run_returns_at_once(cohort: Any, seg: Any, lvray: Callable[..., Any],
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "TorchTrainer", None)
    before = {p: p.stat().st_mtime_ns for p in seg.folder.rglob("*") if p.is_file()}
    again = command(cohort, seg, lvray)
    assert (again.code, again.out) == (0, seg.said.out)
    assert {p: p.stat().st_mtime_ns for p in seg.folder.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(("change", "named"), [("epochs=17", "epochs: 16 there, 17 now"),
                                               ("stream.seed=1", "stream.seed: 0 there, 1 now")])
def test_a_run_of_another_recipe_is_refused(cohort: Any, seg: Any, lvray: Callable[..., Any], change: str,
                                            named: str) -> None:
    said = command(cohort, seg, lvray, f"--set={change}")
    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines()[-1].startswith(f"lvray: --run belongs to other settings or data ({named}): ")


@pytest.mark.parametrize(("change", "says"), [
    ("network.box=4,32,32", "have more than its 4 slices"),
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
    assert "smoke_seg: epoch 16 of 16, step " in seg.said.err
    best = json.loads((seg.best / "state.json").read_text())["metrics"]
    assert best == min(history, key=lambda entry: entry["validation_loss"])
