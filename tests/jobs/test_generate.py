from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvray.cmr.generated.sample import sample
from lvray.cmr.mass import grams
from lvray.cmr.quality import Flag
from lvray.jobs import generate as job
from lvray.settings import Splits, Tensorize
from lvray.shards import parts, storage
from lvray.shards.dataset import open_dataset, verify
from lvray.shards.schema import to_arrow
from lvray.shards.stream import scan

HEARTS = 8
SETTINGS = Tensorize(group_rows=4, splits=Splits(validation=0.3, calibration=0, holdout=0))
SETS = ("--set", "group_rows=4", "--set", "splits.validation=0.3")


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def made(lvray: Any, ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A data set of 8 hearts by the command, and what it said."""
    out = tmp_path_factory.mktemp("generate") / "data"
    said = lvray("generate", "--out", out, "--hearts", HEARTS, "--seed", 1, *SETS, "--json")
    assert said.code == 0, said.err
    return out, said.objects()[0]


def test_every_heart_is_a_row_with_its_mask_and_mass(made: tuple[Path, dict[str, Any]]) -> None:
    out, said = made
    dataset = verify(str(out))
    assert (said["hearts"], said["rows"], dataset.index.num_rows) == (HEARTS, HEARTS, HEARTS)
    assert sum(said["splits"].values()) == HEARTS
    assert set(said["splits"]) == {"train", "validation"}
    rows = {row.study: row for _, row in scan(dataset, np.arange(HEARTS))}
    for number in range(HEARTS):
        heart, row = sample(1, number), rows[job.row(1, number, SETTINGS).study]
        assert np.array_equal(row.image, heart.image)
        assert row.mask is not None
        assert np.array_equal(row.mask, heart.mask)
        assert row.manual_g == pytest.approx(grams(heart.mask, heart.spacing))
        assert (row.spacing, row.flags, row.mask_source) == (heart.spacing, (str(Flag.PHANTOM),), "expert")


def test_nothing_is_left_behind_and_nothing_is_overwritten(lvray: Any, made: tuple[Path, dict[str, Any]]) -> None:
    out, _ = made
    before = files(out)
    assert not any(parts.FOLDER in name for name in before)
    again = lvray("generate", "--out", out, "--hearts", HEARTS, "--seed", 2)
    assert again.code == 2
    assert "holds a data set already" in again.err
    assert files(out) == before


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(lvray: Any, made: tuple[Path, dict[str, Any]],
                                                           tmp_path: Path) -> None:
    """What it had set aside is taken as it stands, a damaged part is made again."""
    first, _ = made
    out = tmp_path / "data"
    work = storage.join(str(out), f"{parts.FOLDER}/{job.made_with(open_dataset(str(first)).manifest.settings)}")
    for number in (0, 3):
        parts.stage(work, job.part(1, number), to_arrow([job.row(1, number, SETTINGS)]))
    (Path(work) / job.part(1, 5)).write_bytes(b"torn")
    assert lvray("generate", "--out", out, "--hearts", HEARTS, "--seed", 1, *SETS).code == 0
    assert files(out) == files(first)


def test_other_seeds_are_other_people() -> None:
    one, other = job.row(1, 0, SETTINGS), job.row(2, 0, SETTINGS)
    assert len({one.participant, one.study, other.participant, other.study}) == 4
