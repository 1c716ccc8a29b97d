from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lvray.errors import CheckpointError, EnvironmentFault
from lvray.nets.build import build
from lvray.nets.checkpoint import CHECKSUMS, FILES, Checkpoint, from_files, read, restore, to_files, write
from lvray.nets.losses import cross_entropy

NETWORK = {"kind": "seg", "width": 4, "pixel_size": True, "box": [3, 16, 16], "centre": "image"}


def network() -> Any:
    torch.manual_seed(0)
    return build("seg", 4, (3, 16, 16), True)


def train(model: Any, optimiser: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        rng = torch.Generator().manual_seed(step)
        x = torch.randn(2, 1, 3, 16, 16, generator=rng)
        mask = torch.randint(0, 3, (2, 3, 16, 16), generator=rng, dtype=torch.uint8)
        optimiser.zero_grad()
        cross_entropy(model(x, torch.full((2, 3), 1.8)), mask).mean().backward()
        optimiser.step()


def checkpoint(model: Any, optimiser: torch.optim.Optimizer) -> Checkpoint:
    return Checkpoint(settings={"network": NETWORK}, weights=model.state_dict(), optimiser=optimiser.state_dict(),
                      scheduler={"last_epoch": 1, "best": float("inf")}, epoch=1, step=3, seed=7, data="ab" * 32,
                      version="0.1.0", mode={"precision": "fp32"}, world=2, trained_on={"dz_mm": [8.0, 10.0]},
                      metrics={"loss": 0.1 + 0.2})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = network()
    optimiser = torch.optim.Adam(model.parameters())
    train(model, optimiser, range(3))
    folder = tmp_path_factory.mktemp("made") / "checkpoint"
    write(folder, checkpoint(model, optimiser))
    return folder


@pytest.fixture
def saved(made: Path, tmp_path: Path) -> Path:
    """For a test to damage."""
    return Path(shutil.copytree(made, tmp_path / "checkpoint"))


@pytest.mark.parametrize(("kind", "layout"), [
    (torch.optim.RAdam, torch.channels_last_3d), (partial(torch.optim.Adam, fused=True), torch.contiguous_format),
    pytest.param(torch.optim.Adam, torch.channels_last_3d, marks=pytest.mark.slow)])
def test_a_resumed_run_ends_in_the_same_bits(tmp_path: Path, kind: Any, layout: Any) -> None:
    model = network().to(memory_format=layout)
    optimiser = kind(model.parameters(), lr=1.23e-3, betas=(0.9, 0.99))
    train(model, optimiser, range(6))
    write(tmp_path, checkpoint(model, optimiser))
    train(model, optimiser, range(6, 12))

    resumed: Any = build("seg", 4, (3, 16, 16), True).to(memory_format=layout)  # type: ignore[call-overload]
    other = kind(resumed.parameters())
    restore(read(tmp_path), resumed, other)
    train(resumed, other, range(6, 12))
    for a, b in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    for key, values in optimiser.state_dict()["state"].items():
        for name, value in values.items():
            assert torch.equal(value, other.state_dict()["state"][key][name]), name


def test_all_facts_come_back(saved: Path) -> None:
    loaded = read(saved)
    model = network()
    expected = checkpoint(model, torch.optim.Adam(model.parameters()))
    same: dict[str, Any] = {"weights": {}, "optimiser": {}}
    assert replace(loaded, **same) == replace(expected, **same)


def test_before_the_first_step_the_optimiser_is_empty(tmp_path: Path) -> None:
    model = network()
    write(tmp_path, checkpoint(model, torch.optim.Adam(model.parameters())))
    assert read(tmp_path).optimiser["state"] == {}


def test_same_content_same_bytes(saved: Path, tmp_path: Path) -> None:
    loaded = read(saved)
    reordered = {"network": dict(reversed(NETWORK.items()))}
    write(tmp_path / "again", replace(loaded, settings=reordered, weights=dict(reversed(loaded.weights.items()))))
    for file in saved.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_checkpoint_is_never_overwritten(saved: Path) -> None:
    with pytest.raises(ValueError, match="already"):
        write(saved, read(saved))


@pytest.mark.parametrize("name", ["weights.safetensors", "train.safetensors", "state.json", "checksums.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone"])
def test_damage_is_one_clear_line(saved: Path, name: str, damage: str) -> None:
    file = saved / name
    blob = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        flipped = blob[:-20] + bytes([blob[-20] ^ 1]) + blob[-19:]
        file.write_bytes({"cut": blob[: len(blob) // 2], "flip": flipped, "empty": b""}[damage])
    with pytest.raises(CheckpointError) as caught:
        read(saved)
    message = str(caught.value)
    assert "checkpoint" in message
    assert "\n" not in message
    assert str(saved.parent) not in message


def test_no_folder_a_file_and_a_foreign_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no finished checkpoint"):
        read(tmp_path / "nowhere")
    (tmp_path / "model.pt").write_bytes(b"\x80\x02")
    with pytest.raises(CheckpointError, match="no finished checkpoint"):
        read(tmp_path / "model.pt")
    (tmp_path / "checksums.json").write_text('{"model.pt": "00"}')
    with pytest.raises(CheckpointError, match="not an lvray checkpoint"):
        read(tmp_path)


@pytest.mark.parametrize("change", [{"format": "lvray-checkpoint-9"}, {"format": None}, {"unheard_of": 1}])
def test_another_versions_checkpoint(saved: Path, change: dict[str, object]) -> None:
    state = json.loads((saved / "state.json").read_text()) | change
    (saved / "state.json").write_text(json.dumps(state))
    sums = json.loads((saved / "checksums.json").read_text())
    sums["state.json"] = hashlib.sha256((saved / "state.json").read_bytes()).hexdigest()
    (saved / "checksums.json").write_text(json.dumps(sums))
    with pytest.raises(CheckpointError, match="version"):
        read(saved)


def test_files_from_anywhere(saved: Path) -> None:
    """`to_files` and `from_files` need no folder; the file that commits comes last."""
    files = to_files(read(saved))
    assert files == {file.name: file.read_bytes() for file in saved.iterdir()}
    assert tuple(files) == FILES
    assert FILES[-1] == CHECKSUMS
    assert from_files(files.__getitem__).world == 2


@pytest.mark.parametrize("name", ["weights.safetensors", "train.safetensors", "state.json", "checksums.json"])
def test_a_store_that_fails_is_not_a_checkpoint_that_lacks_a_file(saved: Path, name: str) -> None:
    def get(wanted: str, cause: Exception) -> bytes:
        if wanted == name:
            raise EnvironmentFault("cannot read the checkpoint: of the store") from cause
        return (saved / wanted).read_bytes()

    with pytest.raises(EnvironmentFault, match="of the store"):
        from_files(lambda wanted: get(wanted, TimeoutError()))
    with pytest.raises(CheckpointError, match="no finished checkpoint" if name == CHECKSUMS else f"lacks {name}"):
        from_files(lambda wanted: get(wanted, FileNotFoundError()))


@pytest.mark.parametrize("state", [b"[]", b"3", b"null", b"{", b"{}"])
def test_a_state_that_is_no_state(saved: Path, state: bytes) -> None:
    """Whole by its checksums, but not what lvray wrote."""
    (saved / "state.json").write_bytes(state)
    sums = json.loads((saved / "checksums.json").read_text()) | {"state.json": hashlib.sha256(state).hexdigest()}
    (saved / "checksums.json").write_text(json.dumps(sums))
    with pytest.raises(CheckpointError, match="understands"):
        read(saved)


def test_nothing_is_unpickled(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a checkpoint was unpickled")

    for module in (pickle, torch):
        for name in ("load", "loads"):
            monkeypatch.setattr(module, name, refuse, raising=False)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    read(saved)


def test_looking_at_checkpoints_waits_for_no_torch() -> None:
    code = "import sys, lvray.nets.checkpoint; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


def test_a_place_that_cannot_be_written(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="could not be written"):
        write(tmp_path / "file" / "checkpoint", read(saved))
