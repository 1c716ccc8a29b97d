"""The loop in plain processes, without Ray: whoever dies at whichever step, a run ends with the same bytes."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lvray.jobs import checkpoints, loop
from lvray.jobs.selection import selected
from lvray.jobs.state import Progress
from lvray.settings import Recipe
from lvray.shards import storage
from lvray.shards.dataset import Dataset
from tests.jobs.conftest import ROWS, TENSORIZE, small, tiny_dataset, tiny_row
from tests.jobs.ranks import Death
from tests.shards.conftest import write_to

Said = list[dict[str, Any]]


def trained(dataset: Dataset, run: object, recipe: Recipe, *worlds: int, deaths: Sequence[Death] = (),
            code: int = 0) -> Said:
    """What the first workers of all attempts told."""
    asked = {"worlds": worlds or [1], "data": dataset.uri, "run": str(run), "recipe": recipe.model_dump(mode="json"),
             "deaths": list(deaths)}
    done = subprocess.run([sys.executable, "-W", "ignore", "-m", "tests.jobs.ranks", json.dumps(asked)],
                          capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def files(run: object) -> dict[str, bytes]:
    """The files of the run's last checkpoint: weights, optimiser, state."""
    where = checkpoints.where(str(run), checkpoints.names(str(run))[-1])
    return {e.name: storage.read_bytes(storage.join(where, e.name), "a file")
            for e in storage.list_entries(where, "a checkpoint")}


def losses(said: Said) -> dict[tuple[int, int], float]:
    """The last loss told of each step."""
    return {(line["epoch"], line["step"]): line["loss"] for line in said if "step" in line}


def deaths_of(rng: np.random.Generator, recipe: Recipe, steps: int, world: int, count: int) -> list[Death]:
    """SIGKILL of random workers at random steps, later and later."""
    moments = np.sort(rng.choice(recipe.epochs * steps, count, replace=False)).tolist()
    return [(int(rng.integers(world)), at // steps, at % steps, signal.SIGKILL) for at in moments]


def steps_of(dataset: Dataset, recipe: Recipe) -> int:
    return len(selected(dataset, recipe).train) // recipe.stream.batch


@pytest.mark.parametrize("world", [2, *(pytest.param(world, marks=pytest.mark.slow) for world in (1, 3, 4))])
def test_killed_workers_change_no_byte(tiny: Dataset, tmp_path: Path, world: int) -> None:
    recipe = small("seg" if world % 2 else "reg")
    undisturbed = trained(tiny, tmp_path / "whole", recipe, world)
    deaths = deaths_of(np.random.default_rng(world), recipe, steps_of(tiny, recipe), world, 3)
    said = trained(tiny, tmp_path / "killed", recipe, world, deaths=deaths)
    assert sum("attempt" in line for line in said) == 4
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert losses(said) == losses(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["seg", "reg"])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("store", ["file", "s3"])
def test_ten_kills_change_no_byte(tiny: Dataset, request: pytest.FixtureRequest, tmp_path: Path, store: str, world: int,
                                  kind: str) -> None:
    base = str(tmp_path) if store == "file" else request.getfixturevalue("s3")
    dataset = tiny if store == "file" else tiny_dataset(f"{base}/data")
    recipe = small(kind)
    trained(dataset, f"{base}/whole", recipe, world)
    deaths = deaths_of(np.random.default_rng(10 * world), recipe, steps_of(dataset, recipe), world, 10)
    said = trained(dataset, f"{base}/killed", recipe, world, deaths=deaths)
    assert sum("attempt" in line for line in said) == 11
    assert files(f"{base}/killed") == files(f"{base}/whole")


def test_sigterm_loses_no_step(tiny: Dataset, tmp_path: Path) -> None:
    """Checkpoints are written at validations alone, but for the signal."""
    recipe = small("seg", "saving.seconds=3600")
    undisturbed = trained(tiny, tmp_path / "whole", recipe)
    told = trained(tiny, tmp_path / "stopped", recipe, deaths=[(0, 1, 2, signal.SIGTERM)])
    assert {"saved": [1, 3]} in told  # the step that was under way is done, and kept
    steps = [(line["epoch"], line["step"]) for line in told if "step" in line]
    assert steps == [(line["epoch"], line["step"]) for line in undisturbed if "step" in line]  # none twice
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_a_second_worker_ends_with_the_first(tiny: Dataset, tmp_path: Path) -> None:
    """One that is left alone waits for the first one's gradients until it is killed, and no attempt ends."""
    recipe = small("seg", "saving.seconds=3600")
    undisturbed = trained(tiny, tmp_path / "whole", recipe, 2)
    told = trained(tiny, tmp_path / "stopped", recipe, 2,
                   deaths=[(0, 1, 2, signal.SIGTERM), (0, 2, 0, signal.SIGTERM)])
    assert [line["exits"] for line in told if "exits" in line] == [[1, 0], [1, 0], [0, 0]]
    assert {"saved": [1, 3]} in told
    assert losses(told) == losses(undisturbed)
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_two_workers_do_what_one_does(tiny: Dataset, tmp_path: Path) -> None:
    """The same batches, so the same losses, but for the order in which floating-point numbers are added."""
    recipe = small("seg", "epochs=8")
    one, two = (losses(trained(tiny, tmp_path / str(world), recipe, world)) for world in (1, 2))
    assert list(one) == list(two)
    assert len(one) >= 50
    np.testing.assert_allclose(list(one.values())[:50], list(two.values())[:50], rtol=0, atol=1e-4)


def test_a_world_that_changes_takes_every_batch_once(tiny: Dataset, tmp_path: Path) -> None:
    recipe = small("reg")
    one = losses(trained(tiny, tmp_path / "one", recipe))
    said = trained(tiny, tmp_path / "changing", recipe, 2, 1, 2,
                   deaths=[(1, 0, 4, signal.SIGKILL), (0, 1, 3, signal.SIGKILL)])
    assert [line["world"] for line in said if "begins" in line] == [2, 1, 2]
    assert list(losses(said)) == list(one)
    np.testing.assert_allclose(list(losses(said).values()), list(one.values()), rtol=0, atol=1e-4)


def test_a_damaged_checkpoint_is_passed_over(tiny: Dataset, tmp_path: Path) -> None:
    recipe = small("seg")
    trained(tiny, tmp_path / "whole", recipe)
    trained(tiny, tmp_path / "run", recipe, deaths=[(0, 2, 3, signal.SIGTERM)])
    *_, before, last = checkpoints.names(str(tmp_path / "run"))
    broken = Path(checkpoints.where(str(tmp_path / "run"), last)) / "weights.safetensors"
    broken.write_bytes(broken.read_bytes()[:-1])
    said = trained(tiny, tmp_path / "run", recipe)
    [notice] = [line["notice"] for line in said if "notice" in line]
    assert notice.startswith(f"checkpoint {last} cannot be used, and is passed over: ")
    assert next(line["begins"] for line in said if "begins" in line) == list(checkpoints.position(before))
    assert files(tmp_path / "run") == files(tmp_path / "whole")


def test_a_loss_that_is_not_finite_stops_before_the_update_and_keeps_the_rows(tmp_path: Path) -> None:
    first, *rest = (tiny_row(n) for n in range(ROWS) if tiny_row(n).split != "holdout")
    bad = dataclasses.replace(first, manual_g=1e300, split="train")
    dataset = write_to(str(tmp_path / "data"), [bad, *rest], TENSORIZE)
    said = trained(dataset, tmp_path / "run", small("reg"), 2, code=1)
    [fault] = {line["fault"] for line in said if "fault" in line}
    assert "not finite at epoch " in fault
    kept = json.loads((tmp_path / "run" / "nonfinite" / "rows.json").read_text())
    assert bad.study in kept["studies"]
    assert len(kept["studies"]) == 4
    before = checkpoints.read(str(tmp_path / "run" / "nonfinite"))
    assert (before.epoch + 1, before.step + 1) == (kept["epoch"], kept["step"])
    assert all(bool(torch.isfinite(value).all()) for value in before.weights.values())


def test_a_validation_loss_that_is_not_finite_keeps_its_rows(tmp_path: Path) -> None:
    rows = [tiny_row(n) for n in range(ROWS)]
    bad = next(row for row in rows if row.split == "validation")
    others = [row for row in rows if row is not bad]
    data = write_to(str(tmp_path / "data"), [dataclasses.replace(bad, manual_g=1e300), *others], TENSORIZE)
    said = trained(data, tmp_path / "run", small("reg"), code=1)
    [fault] = {line["fault"] for line in said if "fault" in line}
    assert "the validation loss of 1 studies is not finite after epoch 1" in fault
    kept = json.loads((tmp_path / "run" / "nonfinite" / "rows.json").read_text())
    assert kept == {"epoch": 1, "studies": [bad.study]}
    assert [line["step"] for line in said if "step" in line] == list(range(1, steps_of(data, small("reg")) + 1))


def test_a_checkpoint_that_is_removed_by_half_is_unfinished_and_not_damaged(
        tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = str(tmp_path)
    trained(tiny, run, small("seg", "saving.keep=5"))
    *_, before, last = checkpoints.names(run)
    monkeypatch.setattr(storage, "delete_tree", lambda uri, what: sys.exit("killed"))
    with pytest.raises(SystemExit):
        checkpoints.sweep(run, before)
    assert checkpoints.names(run)[-1] == before
    assert Path(checkpoints.where(run, last)).exists()


def test_a_checkpoint_before_a_validation_has_another_name_than_the_one_after_it() -> None:
    job: Any = SimpleNamespace(recipe=small("seg"), steps=8)
    at: Any = SimpleNamespace(position=(1, 0), progress=Progress())
    assert loop._name(job, at) == "00000-000008"
    at.progress.history.append({"epoch": 1})
    assert loop._name(job, at) == "00001-000000"
    at.position = (1, 3)
    assert loop._name(job, at) == "00001-000003"


def test_only_the_latest_and_the_best_checkpoints_are_kept(tiny: Dataset, tmp_path: Path) -> None:
    trained(tiny, tmp_path, small("seg", "saving.keep=1", "optimiser.lr=0.3"))
    best = checkpoints.read(checkpoints.where(str(tmp_path), checkpoints.names(str(tmp_path))[-1])).scheduler["best_at"]
    assert checkpoints.names(str(tmp_path)) == sorted({best, checkpoints.name(3, 0)})


def test_a_saver_tells_once_that_a_checkpoint_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    may_end = threading.Event()
    monkeypatch.setattr(checkpoints.Saver, "_save", lambda *_: may_end.wait())
    saver = checkpoints.Saver("run", 2)
    made: Any = None
    assert not saver.committed()
    saver.start("00000-000001", made, None)
    assert not saver.committed()
    may_end.set()
    saver._pool.shutdown()
    assert [saver.committed(), saver.committed()] == [True, False]
