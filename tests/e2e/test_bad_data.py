"""What can be wrong with a training run's data, run or settings: one line each, and the right exit code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lvray.settings import Splits
from lvray.shards import manifest
from lvray.shards.dataset import Dataset, open_dataset
from tests.chaos import processes
from tests.conftest import Said
from tests.jobs.conftest import ROWS, SMALL, TENSORIZE, tiny_dataset, tiny_row
from tests.shards.conftest import write_to
from tests.weed import free_ports

Lvray = Callable[..., Said]
SETS = [f"--set={assignment}" for assignment in SMALL]
SECONDS = 120


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_dataset(str(tmp_path_factory.mktemp("sound") / "data"))


@pytest.fixture
def data(sound: Dataset, tmp_path: Path) -> Path:
    """A copy to be spoiled."""
    return Path(shutil.copytree(sound.uri, tmp_path / "data"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def one_line(said: Said, code: int, text: str) -> None:
    assert (said.code, said.out) == (code, ""), said.err
    lines = said.err.splitlines()
    assert len(lines) == 1, said.err
    assert lines[0].startswith("lvray: ")
    assert text in lines[0]


def of_its_own(*arguments: object, **env: str) -> Said:
    """The train command as a process of its own, with a Ray of its own."""
    command = processes.start("train", *arguments, *SETS, env=env)
    out, err = command.communicate(timeout=SECONDS)
    return Said(command.returncode, out, err)


def shards(data: Path) -> Path:
    """The largest shard: the training rows'."""
    return max(data.glob("*.parquet"), key=lambda path: path.stat().st_size)


def relist(data: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest by hand."""
    path = data / manifest.name(1)
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))
