"""SIGKILL of `predict --out`, or of a process of its Ray, in the middle: the command again ends as if undisturbed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write
from scripts.bench.predict import untrained
from tests.chaos import processes

STUDIES = 16
SECONDS = 300
TITLES: dict[str, str | tuple[str, ...]] = {"network": "ray::MapWorker", "task": ("ray::MapBatches", "ray::IDLE")}
"""What Ray calls the processes of the pipeline."""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(SRC, OUT of an undisturbed run), the checkpoint beside them."""
    folder = tmp_path_factory.mktemp("predict")
    write(folder / "ukb", STUDIES - 1, 11, PhantomOptions(phases=2, slices=6, rows=64, columns=64))
    (folder / "ukb" / "9999999_20209_2_0.zip").write_bytes(b"no zip")
    untrained("smoke_seg", folder / "best")
    finish(start(folder / "ukb", folder / "undisturbed"))
    return folder / "ukb", folder / "undisturbed"


def start(src: Path, out: Path) -> Any:
    return processes.start("predict", src, "--out", out, "--checkpoint", src.parent / "best", "--masks", "--set",
                           "flush=2", "--max-rejects", "1", env={"LVRAY_KEY": "a key for tests, 32 bytes long.."})


def finish(command: Any) -> None:
    _, err = command.communicate(timeout=SECONDS)
    assert command.returncode == 0, err[-3000:]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 3, 6])
@pytest.mark.parametrize("victim", ["command", "network", "task"])
def test_killed_and_run_again(cohort: tuple[Path, Path], tmp_path: Path, victim: str, parts: int) -> None:
    src, undisturbed = cohort
    command = start(src, tmp_path)
    while command.poll() is None and len(list(tmp_path.glob(".lvray-work/*/*.jsonl"))) < parts:
        pass
    started = processes.descendants(command.pid)
    if victim == "command":
        command.kill()
        command.communicate(timeout=SECONDS)
        assert not (tmp_path / "estimates.parquet").exists()
        finish(start(src, tmp_path))
    else:
        titles = {pid: processes.title(pid) for pid in processes.workers(command.pid)}
        processes.kill([pid for pid, title in titles.items() if title.startswith(TITLES[victim])][:1])
        finish(command)
    processes.kill(started)
    assert files(tmp_path) == files(undisturbed)
    rows = sum(pq.read_metadata(tmp_path / f"{name}.parquet").num_rows for name in ("estimates", "rejects"))
    assert rows == STUDIES
