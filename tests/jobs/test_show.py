"""What `lvray checkpoint show` answers, on disk and in an object store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lvray import recipes
from lvray.errors import CheckpointError, EnvironmentFault
from lvray.jobs import checkpoints, claim
from lvray.jobs.show import show
from lvray.nets.build import build
from lvray.nets.checkpoint import Checkpoint, to_files
from lvray.shards import storage

RECIPE = recipes.override(recipes.smoke_seg(), ["network.width=2", "network.box=6,16,16"])
DATA = "ab" * 32
POSITIONS = [(0, 7), (4, 0), (5, 3)]


def made(epoch: int, step: int) -> Checkpoint:
    torch.manual_seed(0)
    model = build("seg", 2, (6, 16, 16), True)
    return Checkpoint(
        settings=RECIPE.model_dump(mode="json"), weights=model.state_dict(),
        optimiser=torch.optim.Adam(model.parameters()).state_dict(), scheduler={}, epoch=epoch, step=step, seed=0,
        data=DATA, version="0.1.0", mode={"precision": "fp32", "channels_last": True, "compile": False}, world=2,
        trained_on={"dz_mm": [8.0, 10.0], "slices": [5.0, 6.0]}, metrics={"loss": 0.25})


def run_at(uri: str) -> str:
    """A run that stands at the last of POSITIONS and was best at the second."""
    storage.make_folder(uri, "the run")
    claim.claim(uri, claim.belonging(RECIPE, DATA))
    for position in POSITIONS:
        checkpoints.write(checkpoints.where(uri, checkpoints.name(*position)), to_files(made(*position)))
    checkpoints.write(storage.join(uri, "best"), to_files(made(4, 0)))
    return uri


def test_a_checkpoint(tmp_path: Path) -> None:
    found = show(storage.join(run_at(str(tmp_path)), "checkpoints/00005-000003"))
    model = build("seg", 2, (6, 16, 16), True)
    whole = made(5, 3)
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
    assert (found["recipe"], found["network"]) == ("smoke_seg", RECIPE.network.model_dump(mode="json"))
    assert (found["epoch"], found["step"], found["world"], found["checksums"]) == (5, 3, 2, "hold")
    assert {name: found[name] for name in ("metrics", "trained_on", "data", "version", "mode")} == {
        name: getattr(whole, name) for name in ("metrics", "trained_on", "data", "version", "mode")}
    assert found["bytes"] == {name: len(blob) for name, blob in to_files(whole).items() if name != "checksums.json"}


@pytest.mark.parametrize("where", ["file", "s3"])
def test_a_run(where: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    found = show(run_at(str(tmp_path / "run") if where == "file" else request.getfixturevalue("s3") + "/run"))
    assert (found["recipe"], found["data"], found["damaged"]) == ("smoke_seg", DATA, [])
    assert [(at["name"], at["epoch"], at["step"]) for at in found["checkpoints"]] == [
        ("00000-000007", 0, 7), ("00004-000000", 4, 0), ("00005-000003", 5, 3)]
    assert found["resumes"] == "00005-000003"
    assert (found["best"]["epoch"], found["best"]["metrics"]) == (4, {"loss": 0.25})


def test_a_run_with_damaged_and_unfinished_checkpoints(tmp_path: Path) -> None:
    run = run_at(str(tmp_path))
    (tmp_path / "checkpoints" / "00005-000003" / "train.safetensors").write_bytes(b"cut")
    (tmp_path / "checkpoints" / "00006-000000").mkdir()
    found = show(run)
    assert [at["name"] for at in found["checkpoints"]] == [checkpoints.name(*at) for at in POSITIONS]
    assert (found["damaged"], found["resumes"]) == (["00005-000003"], "00004-000000")
    for name in ("00000-000007", "00004-000000"):
        (tmp_path / "checkpoints" / name / "state.json").unlink()
    assert (len(show(run)["damaged"]), show(run)["resumes"]) == (3, None)


def test_a_run_whose_best_checkpoint_is_damaged(lvray: Callable[..., Any], tmp_path: Path) -> None:
    run = run_at(str(tmp_path))
    (tmp_path / "best" / "weights.safetensors").write_bytes(b"cut")
    assert "damaged" in show(run)["best"]
    said = lvray("checkpoint", "show", run)
    assert said.code == 0
    assert said.out.splitlines()[-1].startswith("best: the checkpoint's weights.safetensors is cut short or damaged")


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    claim.claim(str(tmp_path), claim.belonging(RECIPE, DATA))
    found = show(str(tmp_path))
    assert (found["checkpoints"], found["damaged"], found["resumes"], found["best"]) == ([], [], None, None)


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    run = run_at(str(tmp_path))
    (tmp_path / "best" / "weights.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is cut short or damaged"):
        show(storage.join(run, "best"))
    with pytest.raises(CheckpointError, match="no finished checkpoint there"):
        show(storage.join(run, "checkpoints"))
    with pytest.raises(EnvironmentFault, match="No such file"):
        show(str(tmp_path / "absent"))


def test_as_text(lvray: Callable[..., Any], tmp_path: Path) -> None:
    run = run_at(str(tmp_path))
    said = lvray("checkpoint", "show", run)
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == f"smoke_seg: data {DATA}, lvray 0.1.0"
    assert lines[1:] == ["00000-000007  0 epochs and 7 steps done", "00004-000000  4 epochs done",
                         "00005-000003  5 epochs and 3 steps done  the run goes on from here",
                         "best: 4 epochs done  loss 0.25"]
    text = lvray("checkpoint", "show", tmp_path / "best").out
    assert text.startswith("smoke_seg, 4 epochs done: ")
    assert "dz_mm 8 to 10, slices 5 to 6" in text
    assert "; all checksums hold\n" in text
    [found] = lvray("checkpoint", "show", tmp_path / "best", "--json").objects()
    assert found == show(str(tmp_path / "best"))


def test_looking_brings_neither_torch_nor_ray(tmp_path: Path) -> None:
    run = run_at(str(tmp_path))
    code = ("import sys; from lvray.jobs.show import show; show(sys.argv[1]);"
            "print([m for m in ('torch', 'ray') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code, run], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
