"""Weights that training begins with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

WEIGHTS = "weights.safetensors"


def tune(cohort: Any, run: Path, lvray: Callable[..., Any], *more: str, **changes: object) -> Any:
    """smoke_seg as the fixture has it, but for the rate and the length."""
    changes = {"network.width": 4, "network.box": "[6,32,32]", "optimiser.lr": 1e-9, "epochs": 1} | changes
    return lvray("train", "smoke_seg", "--data", cohort.shards, "--run", run, "--json", *more,
                 *(f"--set={name}={value}" for name, value in changes.items()))


def test_a_run_begins_with_the_weights_of_another_and_goes_on_from_its_own_copy(
        cohort: Any, seg: Any, tmp_path: Path, lvray: Callable[..., Any]) -> None:
    network = seg.recipe.network.model_dump(mode="json")
    alike = {f"network.{name}": json.dumps(value) for name, value in network.items() if name not in ("kind", "centre")}
    said = tune(cohort, tmp_path / "run", lvray, "--from", str(seg.best), **alike)
    assert said.code == 0, said.err
    theirs, mine = load_file(seg.best / WEIGHTS), load_file(tmp_path / "run" / "best" / WEIGHTS)
    assert all(torch.allclose(mine[name], theirs[name], atol=1e-4) for name in theirs)
    assert (tmp_path / "run" / "start" / WEIGHTS).read_bytes() == (seg.best / WEIGHTS).read_bytes()

    began, state = (json.loads((best / "state.json").read_text()) for best in (seg.best, tmp_path / "run" / "best"))
    assert state["earlier"] == [began["data"]]

    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert tune(cohort, tmp_path / "run", lvray, "--from", str(seg.best), **alike).out == said.out
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before

    fresh = tune(cohort, tmp_path / "run", lvray, **alike)
    assert (fresh.code, fresh.out) == (2, "")
    assert "start: " in fresh.err


def test_weights_of_another_network_are_refused_with_the_settings_that_fit(
        cohort: Any, seg: Any, reg: Any, tmp_path: Path, lvray: Callable[..., Any]) -> None:
    said = tune(cohort, tmp_path / "run", lvray, "--from", str(seg.best), **{"network.width": 5})
    assert (said.code, said.out) == (2, "")
    assert f"--set network.width={seg.recipe.network.width}" in said.err
    said = tune(cohort, tmp_path / "run", lvray, "--from", str(reg.best))
    assert (said.code, said.out) == (2, "")
    assert "of a network of kind reg: take a recipe of that kind" in said.err
    assert not (tmp_path / "run").exists()


def test_no_weights_there(cohort: Any, tmp_path: Path, lvray: Callable[..., Any]) -> None:
    said = tune(cohort, tmp_path / "run", lvray, "--from", str(tmp_path / "none"))
    assert said.code in (2, 4)
    assert len(said.err.splitlines()) == 1


def test_a_recipe_cannot_name_them_itself(cohort: Any, tmp_path: Path, lvray: Callable[..., Any]) -> None:
    said = tune(cohort, tmp_path / "run", lvray, start="0" * 64)
    assert (said.code, said.out) == (2, "")
    assert said.err.endswith("give them by --from\n")
