"""Real hearts from DICOM and an expert's contours to shards: the masses are the data's own."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvray.cmr.mass import grams
from lvray.shards.dataset import open_dataset
from lvray.shards.identity import keyed
from lvray.shards.schema import SCHEMA
from lvray.shards.stream import scan


@pytest.fixture(scope="session")
def sunnybrook() -> Path:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "sunnybrook"
    if not folder.is_dir():
        pytest.skip("no real data: ../shared/data/sunnybrook is not there")
    return folder


def test_masses_from_shards(sunnybrook: Path, lvray: Callable[..., Any], tmp_path: Path, ray_cluster: None) -> None:
    (tmp_path / "key").write_text("a key for tests, 32 bytes long..")
    said = lvray("tensorize", sunnybrook / "dicom", tmp_path / "shards", "--key", tmp_path / "key", "--json",
                 "--contours", sunnybrook / "contours", "--link", sunnybrook / "link.csv", "--phases", "ed,es")
    assert said.objects()[0]["rows"] == 3
    dataset = open_dataset(str(tmp_path / "shards"))
    rows = {row.study: row for _, row in scan(dataset, np.arange(3), SCHEMA.names)}
    with (sunnybrook / "labels.csv").open() as file:
        labels = {keyed(b"a key for tests, 32 bytes long..", "study", line["cap_id"]): line
                  for line in csv.DictReader(file)}
    for study, row in rows.items():
        label = labels[study]
        if label["cap_id"] == "SCD0000101":  # of the others only the outlined phases are there
            assert row.ed_phase == 1 + (int(label["ed_instances"].split()[0]) - 1) % 20
            assert row.es_phase == 1 + (int(label["es_instances"].split()[0]) - 1) % 20
        assert row.other_phases == (row.es_phase,)
        if not label["lvm_g"]:  # an endocardium alone
            assert (row.mask, row.manual_g) == (None, None)
            continue
        assert row.mask is not None
        assert grams(row.mask, row.spacing) == pytest.approx(float(label["lvm_g"]), rel=0.02)
        assert row.manual_g == pytest.approx(float(label["lvm_g"]), rel=0.02)
        cavity = (row.mask == 1).sum() * np.prod(row.spacing) / 1000
        assert cavity == pytest.approx(float(label["edv_ml"]), rel=0.02)
        assert row.other_masks is not None
        cavity = (row.other_masks[0] == 1).sum() * np.prod(row.spacing) / 1000
        assert cavity == pytest.approx(float(label["esv_ml"]), rel=0.02)
