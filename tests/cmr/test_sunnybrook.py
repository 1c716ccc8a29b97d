"""Real hearts with expert contours, against the data set's own table."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lvray.cmr.archive import folder_members
from lvray.cmr.ed import end_diastole, end_systole
from lvray.cmr.mass import grams
from lvray.cmr.measure import measure, overlay_outlines, text_outlines
from lvray.cmr.quality import Flag
from lvray.cmr.study import Cine, read_cine
from lvray.errors import Reason, StudyRefused

Real = Callable[[str], Cine]


@pytest.fixture(scope="module")
def labels(sunnybrook: Path) -> dict[str, dict[str, str]]:
    with (sunnybrook / "labels.csv").open() as file:
        return {row["cap_id"]: row for row in csv.DictReader(file)}


def instances(cine: Cine, phase: int, slices: tuple[int, ...]) -> str:
    return " ".join(str(f.instance) for z in slices if (f := cine.frames[z][phase]))


@pytest.mark.parametrize("name", ["SCD0000101", "SCD0000201"])
def test_mass_and_volumes(real: Real, sunnybrook: Path, labels: dict[str, dict[str, str]], name: str) -> None:
    cine, known = real(name), labels[name]
    found = measure(cine, text_outlines(cine, sunnybrook / "contours" / known["original_id"]))
    assert cine.spacing == pytest.approx((10.0, 1.367188, 1.367188), abs=1e-3)
    assert found.mass_g == pytest.approx(float(known["lvm_g"]), rel=0.005)
    assert found.edv_ml == pytest.approx(float(known["edv_ml"]), rel=0.005)
    assert found.esv_ml == pytest.approx(float(known["esv_ml"]), rel=0.005)
    assert instances(cine, found.phase, found.slices) == known["ed_instances"]
    assert instances(cine, found.es_phase or 0, found.slices) == known["es_instances"]
    assert found.flags == (set() if cine.slices == 12 else {Flag.MASK_AT_END})  # of 0201 only outlined slices are there
    assert grams(found.mask, cine.spacing) == pytest.approx(float(known["lvm_g"]), rel=0.02)


@pytest.mark.parametrize("name", ["SCD0000101", "SCD0000201"])
def test_mass_from_overlays_alone(sunnybrook: Path, labels: dict[str, dict[str, str]], name: str) -> None:
    cine = read_cine(folder_members(sunnybrook / "derived_inlinevf_like" / name))
    found = measure(cine, overlay_outlines(cine))
    assert found.mass_g == pytest.approx(float(labels[name]["lvm_g"]), rel=0.01)
    assert found.edv_ml == pytest.approx(float(labels[name]["edv_ml"]), rel=0.01)
    assert instances(cine, found.phase, found.slices) == labels[name]["ed_instances"]
    inflated = measure(cine, overlay_outlines(cine, "morphology"))
    assert 1.15 < (inflated.mass_g or 0) / (found.mass_g or 1) < 1.45


def test_endocardium_only(real: Real, sunnybrook: Path, labels: dict[str, dict[str, str]]) -> None:
    cine, known = real("SCD0000501"), labels["SCD0000501"]
    found = measure(cine, text_outlines(cine, sunnybrook / "contours" / "SC-HF-I-6"))
    assert found.mass_g is None
    assert found.edv_ml == pytest.approx(float(known["edv_ml"]), rel=0.005)
    assert found.esv_ml == pytest.approx(float(known["esv_ml"]), rel=0.005)
    assert Flag.EPICARDIUM_ABSENT in found.flags
    assert instances(cine, found.phase, found.slices) == known["ed_instances"]


def test_another_patients_epicardia_are_refused(real: Real, sunnybrook: Path, tmp_path: Path) -> None:
    cine, bad = real("SCD0000501"), sunnybrook / "contours_known_bad" / "SC-HF-I-6"
    with pytest.raises(StudyRefused) as refused:
        measure(cine, text_outlines(cine, bad))
    assert refused.value.reason == Reason.NO_OUTLINES
    for folder in (bad, sunnybrook / "contours" / "SC-HF-I-6"):
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    with pytest.raises(StudyRefused) as refused:
        measure(cine, text_outlines(cine, tmp_path))
    assert refused.value.reason == Reason.OUTLINES_DISAGREE


def test_another_patients_contours_are_refused(real: Real, sunnybrook: Path) -> None:
    with pytest.raises(StudyRefused) as refused:
        text_outlines(real("SCD0000201"), sunnybrook / "contours" / "SC-HF-I-1")
    assert refused.value.reason == Reason.OUTLINES_DISAGREE


@pytest.mark.parametrize(("name", "contours", "phase"), [
    ("SCD0000101", "SC-HF-I-1", 19), ("SCD0000201", "SC-HF-I-2", 2), ("SCD0000501", "SC-HF-I-6", 2)])
def test_ed_es_and_the_heart_from_images(real: Real, sunnybrook: Path, name: str, contours: str, phase: int) -> None:
    cine = real(name)
    ed = end_diastole(cine)
    assert (ed.volume.phase + 1 - phase + 1) % cine.phases in (0, 1, 2)
    assert ed.flags == frozenset()
    found = measure(cine, text_outlines(cine, sunnybrook / "contours" / contours))
    y, x = np.argwhere(found.mask == 1)[:, 1:].mean(0)
    assert np.hypot(*(np.subtract(ed.centre_yx, (y, x)) * cine.spacing[1:])) < 10
    es = end_systole(cine, ed)
    assert es is not None
    assert found.es_phase is not None
    assert abs(es - found.es_phase) <= 1
    assert end_systole(cine, ed, found) == found.es_phase
