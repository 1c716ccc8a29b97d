from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from lvray.settings import Splits, Tensorize
from lvray.shards import identity, writer
from lvray.shards.dataset import Dataset, open_dataset
from lvray.shards.schema import Reject, Row, to_arrow
from lvray.shards.splits import split_of

KEY = b"a key for tests, 32 bytes long.."
SETTINGS = Tensorize(group_rows=4, splits=Splits(holdout=0.2, validation=0.1, calibration=0.1))


def make_row(number: int, splits: Splits = SETTINGS.splits) -> Row:
    """A small row whose pixels tell its number; sizes, dtypes and labels vary."""
    rng = np.random.default_rng(number)
    shape = (int(rng.integers(2, 5)), 9, 7 + number % 3)
    image = rng.integers(0, 900, shape).astype(np.float32 if number % 5 == 0 else np.int16)
    image[0, 0, 0] = number
    participant = identity.keyed(KEY, "participant", str(number))
    masked = number % 4 != 3
    return Row(
        participant=participant, study=identity.keyed(KEY, "study", str(number)),
        source=identity.keyed(KEY, "source", str(number)), visit=2, split=split_of(participant, splits), image=image,
        mask=rng.integers(0, 3, shape).astype(np.uint8) if masked else None,
        mask_source="inlinevf" if masked else None, spacing=(10.0, 1.8, 1.7 + number / 100), affine=np.eye(4) * 1.5,
        heart_yx=(4.0, 3.5) if number % 2 else None, ed_phase=1, manual_g=90.0 + number if number % 3 else None,
        sex="female" if number % 2 else "male", height_cm=170.0, flags=("uneven_pitch",) if number % 10 == 0 else ())


def make_reject(position: int) -> Reject:
    return Reject(identity.keyed(KEY, "study", f"bad {position}"), position, "missing_slice", "slice 4 missing", None)


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    return [make_row(i) for i in range(40)]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Dataset]:
    def write(rows: Sequence[Row], rejects: int = 2, name: str = "data", settings: Tensorize = SETTINGS) -> Dataset:
        outcomes = [*(to_arrow([row]) for row in rows), *(make_reject(len(rows) + i) for i in range(rejects))]
        uri = str(tmp_path / name)
        writer.write(uri, outcomes, studies=len(outcomes), key=identity.fingerprint(KEY), settings=settings)
        return open_dataset(uri)
    return write


@pytest.fixture
def dataset(write: Callable[..., Dataset], rows: list[Row]) -> Dataset:
    return write(rows)
