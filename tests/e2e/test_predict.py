"""Checkpoints that cannot be used, and a mask that goes out and comes back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

Lvray = Callable[..., Any]


@pytest.fixture(scope="module")
def study(cohort: Any) -> Path:
    return Path(cohort.good[0])


def test_a_mask_that_nobody_edited_gives_the_same_grams(lvray: Lvray, study: Path, seg: Any, tmp_path: Path) -> None:
    mask = tmp_path / "masks" / "mask.nii.gz"
    [predicted] = lvray("predict", study, "--checkpoint", seg.best, "--mask", mask, "--json").objects()
    [measured] = lvray("measure", study, "--mask", mask, "--json").objects()
    same = ("mass_g", "edv_ml", "lvmi_g_m2", "ed_phase", "ed_instances", "slices", "spacing_mm")
    assert {name: measured[name] for name in same} == {name: predicted[name] for name in same}
    assert (predicted["method"], measured["method"]) == ("ML4Hseg", "mask")
    image = nib.nifti1.Nifti1Image.from_filename(mask)
    edited = np.asarray(image.dataobj).copy()
    edited[tuple(np.argwhere(edited == 2)[0])] = 0
    nib.save(nib.Nifti1Image(edited, image.affine), mask)
    [less] = lvray("measure", study, "--mask", mask, "--json").objects()
    voxel = np.prod(predicted["spacing_mm"]) / 1000 * 1.05
    assert less["mass_g"] == pytest.approx(predicted["mass_g"] - voxel)


@pytest.mark.parametrize("name", ["weights.safetensors", "state.json", "checksums.json"])
def test_a_checkpoint_cut_short(lvray: Lvray, cohort: Any, study: Path, seg: Any, tmp_path: Path, name: str) -> None:
    cut = Path(shutil.copytree(seg.best, tmp_path / "best"))
    (cut / name).write_bytes((cut / name).read_bytes()[:-20])
    for arguments in (["predict", study, "--checkpoint", cut],
                      ["predict", cohort.src, "--out", tmp_path / "out", "--key", cohort.key, "--checkpoint", cut],
                      ["evaluate", "--data", cohort.shards, "--out", tmp_path / "out", "--checkpoint", cut]):
        said = lvray(*arguments)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
        assert f"{name} is " in said.err
    assert not any((tmp_path / "out").iterdir())  # made to see that it can be, and nothing begun


def test_a_regressor_gives_grams_and_no_mask(lvray: Lvray, study: Path, reg: Any, tmp_path: Path) -> None:
    [found] = lvray("predict", study, "--checkpoint", reg.best, "--json").objects()
    assert found["method"] == "ML4Hreg"
    assert found["network"]["kind"] == "reg"
    said = lvray("predict", study, "--checkpoint", reg.best, "--mask", tmp_path / "mask.nii.gz")
    assert said.code == 2
    assert "a regressor makes no mask" in said.err
