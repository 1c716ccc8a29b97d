from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lvray.settings import Splits, Tensorize
from lvray.shards import identity, manifest, parts, storage, writer
from lvray.shards.dataset import Dataset, open_dataset, rejects
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
    beyond: dict[str, Any] = {}
    if number % 6 == 1:
        beyond = {"others": rng.integers(0, 900, (2, *shape)).astype(image.dtype), "other_phases": (8, 9),
                  "es_phase": 8,
                  "other_masks": rng.integers(0, 3, (1, *shape)).astype(np.uint8), "other_mask_phases": (8,)}
    return Row(
        participant=participant, study=identity.keyed(KEY, "study", str(number)),
        source=identity.keyed(KEY, "source", str(number)), given=identity.keyed(KEY, "given", ""), visit=2,
        split=split_of(participant, splits), image=image,
        mask=rng.integers(0, 3, shape).astype(np.uint8) if masked else None,
        mask_source="inlinevf" if masked else None, spacing=(10.0, 1.8, 1.7 + number / 100), affine=np.eye(4) * 1.5,
        heart_yx=(4.0, 3.5) if number % 2 else None, ed_phase=1, manual_g=90.0 + number if number % 3 else None,
        sex="female" if number % 2 else "male", height_cm=170.0, flags=("uneven_pitch",) if number % 10 == 0 else (),
        **beyond)


def make_reject(position: int) -> Reject:
    return Reject(identity.keyed(KEY, "study", f"bad {position}"), position, "missing_slice", "slice 4 missing", None,
                  identity.keyed(KEY, "given", ""))


def write_to(uri: str, outcomes: Sequence[Row | Reject], settings: Tensorize = SETTINGS,
             standing: Dataset | None = None) -> Dataset:
    """A generation of these outcomes on top of what stands, without Ray."""
    work = f"{uri}/{parts.FOLDER}/x"
    staged = [parts.stage(work, parts.name(o.study, "0" * 32), o if isinstance(o, Reject) else to_arrow([o]))
              for o in outcomes]
    refused = [*([Reject(**r) for r in rejects(standing).to_pylist()] if standing else []),
               *(s for s in staged if isinstance(s, Reject))]
    notes = pa.concat_tables([parts.NOTE.empty_table(), *(s for s in staged if not isinstance(s, Reject))])
    studies = len(outcomes) + (standing.manifest.studies if standing else 0)
    made = writer.write(uri, work, notes, refused, studies=studies, key=identity.fingerprint(KEY), settings=settings,
                        standing=standing)
    storage.delete_tree(f"{uri}/{parts.FOLDER}", "what was staged")
    assert manifest.publish(uri, made)
    return open_dataset(uri)


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    return [make_row(i) for i in range(40)]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Dataset]:
    def write(rows: Sequence[Row], rejects: int = 2, name: str = "data", settings: Tensorize = SETTINGS,
              standing: Dataset | None = None) -> Dataset:
        refused = [make_reject(len(rows) + i) for i in range(rejects)]
        return write_to(str(tmp_path / name), [*rows, *refused], settings, standing)
    return write


@pytest.fixture
def dataset(write: Callable[..., Dataset], rows: list[Row]) -> Dataset:
    return write(rows)
