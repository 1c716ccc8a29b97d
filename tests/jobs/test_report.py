"""The report of a run stands in its folder and tells nothing of places or people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lvray
from lvray import recipes
from lvray.jobs.mode import FILE as MODE
from lvray.jobs.report import write_report
from lvray.jobs.selection import Selection, selected
from lvray.shards import storage
from lvray.shards.dataset import Dataset
from tests.evidence.test_training import lines
from tests.jobs.conftest import small

BEGAN: dict[str, Any] = {
    "mode": {"precision": "bf16", "channels_last": True, "compile": False},
    "hardware": {"cpu": "a CPU", "cpu_flags": ["avx2", "fma"], "cores": 2, "torch": "2", "device": "cpu"}}


@pytest.mark.parametrize("where", ["file", "s3"])
def test_a_report_and_its_curves(where: str, tiny: Dataset, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue("s3") if where == "s3" else str(tmp_path)
    storage.write_atomic(storage.join(run, MODE), json.dumps(BEGAN).encode(), MODE)
    recipe = small("seg", "optimiser.clip=0.75")
    rows = selected(tiny, recipe)
    write_report(run, recipe, tiny, Selection(rows.train, rows.validation, 7), lines())
    page = storage.read_bytes(storage.join(run, "report.html"), "the report").decode()
    assert storage.read_bytes(storage.join(run, "curves.png"), "the curves").startswith(b"\x89PNG")
    for name, value in (("manifest (sha256)", tiny.checksum), ("generation", 1), ("training studies", len(rows.train)),
                        ("validation studies", len(rows.validation)), ("set aside (more slices than the box)", 7),
                        ("precision", "bf16"), ("channels last", "yes"), ("compile", "no"),
                        ("cpu flags", "avx2, fma"), ("clip", 0.75), ("plateau", "none"), ("box", "6, 16, 24"),
                        ("lvray", lvray.__version__)):
        assert f'<th scope="row">{name}</th><td>{value}</td>' in page
    assert tiny.uri not in page
    assert run not in page


def test_every_setting_is_in_the_report(tiny: Dataset, tmp_path: Path) -> None:
    storage.write_atomic(storage.join(str(tmp_path), MODE), json.dumps(BEGAN).encode(), MODE)
    recipe = recipes.smoke_reg()
    write_report(str(tmp_path), recipe, tiny, selected(tiny, small("reg")), lines())
    page = (tmp_path / "report.html").read_text()
    assert [name for name in recipes.flat(recipe) if f'"row">{name.split(".")[-1]}</th>' not in page] == []
