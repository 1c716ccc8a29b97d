"""What can be wrong with a training run's data, its store, its settings or its folder: one line each, and the right
exit code. Each was refused within 15 s when it was written; the tests do not depend on speed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lvray.shards import manifest
from lvray.shards.dataset import Dataset
from lvray.shards.schema import Row
from tests.chaos import processes
from tests.conftest import Said
from tests.jobs.conftest import ROWS, SMALL, TENSORIZE, tiny_dataset, tiny_row
from tests.shards.conftest import write_to
from tests.weed import free_ports

Lvray = Callable[..., Said]
Change = Callable[[dict[str, Any]], object]
SECONDS = 120


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_dataset(str(tmp_path_factory.mktemp("sound") / "data"))


@pytest.fixture
def data(sound: Dataset, tmp_path: Path) -> Path:
    """A copy to be spoiled."""
    return Path(shutil.copytree(sound.uri, tmp_path / "data"))


@pytest.fixture
def train(lvray: Lvray, ray_cluster: None, tmp_path: Path) -> Lvray:
    """train(data, ...): the command, in this process: no worker of what it refuses may begin."""
    return lambda data, *more, **named: lvray(*arguments(data, tmp_path / "run", *more, **named))


@pytest.fixture
def train_apart(tmp_path: Path) -> Lvray:
    """The same as a process, with which Ray and the workers end."""
    def run(data: object, *more: object, **named: Any) -> Said:
        command = processes.start(*arguments(data, tmp_path / "run", *more, **named))
        out, err = command.communicate(timeout=SECONDS)
        return Said(command.returncode, out, err)
    return run


def arguments(data: object, run: object, *more: object, recipe: str = "smoke_seg") -> list[object]:
    return ["train", recipe, "--data", data, "--run", run, *(f"--set={one}" for one in SMALL), *more]


def one_line(said: Said, code: int, text: str) -> None:
    assert (said.code, said.out) == (code, ""), said.err
    lines = [line for line in said.err.splitlines() if not line.startswith("smoke_")]  # progress
    assert len(lines) == 1, said.err
    assert lines[0].startswith("lvray: ")
    assert text in lines[0]


def relist(data: Path, change: Change) -> None:
    """Change the manifest by hand."""
    path = data / manifest.name(1)
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))


def made_of(rows: list[Row], data: Path) -> str:
    return write_to(str(data), rows, TENSORIZE).uri


@pytest.mark.parametrize(("kind", "text"), [("absent", "cannot read the data set: No such file"),
                                            ("empty", "no data set there: manifest-00001.json is missing")])
def test_no_data_set(train: Lvray, tmp_path: Path, kind: str, text: str) -> None:
    data = tmp_path / "data"
    if kind == "empty":
        data.mkdir()
    one_line(train(data), 4 if kind == "absent" else 2, text)


@pytest.mark.parametrize("recipe", ["smoke_seg", "smoke_reg"])
def test_a_data_set_without_rows(train: Lvray, tmp_path: Path, recipe: str) -> None:
    one_line(train(made_of([], tmp_path / "data"), recipe=recipe), 2, "0 training studies have a m")


def test_a_data_set_without_what_the_network_learns(train: Lvray, tmp_path: Path) -> None:
    unmasked = [tiny_row(number, mask=None, mask_source=None) for number in range(ROWS)]
    one_line(train(made_of(unmasked, tmp_path / "unmasked")), 2, "0 training studies have a mask")
    unweighed = [tiny_row(number, manual_g=None) for number in range(ROWS)]
    one_line(train(made_of(unweighed, tmp_path / "unweighed"), recipe="smoke_reg"), 2,
             "0 training studies have a manual_g")


def test_a_batch_larger_than_the_data(train: Lvray, sound: Dataset) -> None:
    one_line(train(sound.uri, "--set=stream.batch=64"), 2, "34 training studies have a mask; recipe smoke_seg needs at"
             " least its batch of 64")


def test_more_workers_than_lanes_or_rows(train: Lvray, sound: Dataset) -> None:
    one_line(train(sound.uri, "--workers=5"), 2, "5 workers need at least as many lanes, not 4: use fewer, or")
    one_line(train(sound.uri, "--workers=64", "--set=stream.lanes=64", "--set=stream.batch=64"), 2,
             "34 training studies have a mask")


@pytest.mark.parametrize(("change", "text"), [
    (lambda m: m.update(version=1), "has schema version 1; this lvray reads 2: tensorize anew"),
    (lambda m: m["shards"][1].update(rows=35), "counts 41 rows in shards, 40 in the index and 40 in splits"),
    (lambda m: (m["index"].update(rows=41), m["shards"][1].update(rows=35), m["splits"].update(train=35)),
     "40 studies, but 41 rows"),
    (lambda m: m["index"].update(sha256="0" * 64), "is damaged (its sha256 is not the manifest's)"),
    (lambda m: m["shards"][1].update(bytes=1), "is missing from the data set or has another size"),
])
def test_a_manifest_that_lies(train: Lvray, data: Path, change: Change, text: str) -> None:
    relist(data, change)
    one_line(train(data), 2, text)


@pytest.mark.parametrize(("change", "text"), [
    (lambda m: m["shards"][1].update(sha256="0" * 64), "is damaged (its sha256 is not the manifest's)"),
    (lambda m: (m["shards"][0].update(rows=1), m["shards"][1].update(rows=35)), "holds 34 rows, the manifest lists 35"),
])
def test_a_manifest_whose_lies_only_a_shard_belies(train_apart: Lvray, data: Path, change: Change, text: str) -> None:
    """Found by the readers, or by the check beside training; the run is ended."""
    relist(data, change)
    one_line(train_apart(data), 2, text)


@pytest.mark.parametrize("damage", ["truncated", "removed"])
def test_a_shard_of_another_size(train: Lvray, data: Path, damage: str) -> None:
    [shard] = data.glob("train-*.parquet")
    if damage == "truncated":
        shard.write_bytes(shard.read_bytes()[:-100])
    else:
        shard.unlink()
    one_line(train(data), 2, f"shard {shard.name} is missing from the data set or has another size")


def test_a_shard_with_a_flipped_bit(train_apart: Lvray, data: Path) -> None:
    """Its readers or the check beside training find it, whoever comes first."""
    [shard] = data.glob("train-*.parquet")
    flipped = bytearray(shard.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    shard.write_bytes(flipped)
    one_line(train_apart(data), 2, f"shard {shard.name} is damaged")


def test_a_wrong_endpoint(train: Lvray, sound: Dataset, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    one_line(train(f"{s3}/data"), 4, "cannot read the data set: EndpointConnectionError; no S3 answers there: check")
    one_line(train(sound.uri, f"--run={s3}/run"), 4, "cannot write the run's folder: EndpointConnectionError")


def test_resume_without_a_run(train: Lvray, sound: Dataset) -> None:
    one_line(train(sound.uri, "--resume"), 2, "--resume: no run has begun at --run")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one small checkpoint, not for two."""
    folder = tmp_path / "run"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small file system here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_up_and_is_enlarged(train: Lvray, train_apart: Lvray, sound: Dataset, disk: Path) -> None:
    """The checkpoint that it holds is gone on from; and then the run is nobody else's."""
    one_line(train_apart(sound.uri), 4, "No space left on device")
    assert [path.parent.name for path in disk.glob("checkpoints/*/checksums.json")] == ["00000-000001"]
    subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
    said = train_apart(sound.uri)
    assert said.code == 0, said.err
    assert "goes on from epoch 1, step 2" in said.err
    one_line(train(sound.uri, "--set=optimiser.clip=0.1"), 2,
             "--run belongs to other settings or data (optimiser.clip: 1.0 there, 0.1 now)")
    one_line(train(sound.uri, recipe="smoke_reg"), 2, "--run belongs to other settings or data")
