"""A cohort's estimates from DICOM and from shards, masks that go out and come back, checkpoints that cannot be used."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest

from lvray.jobs import pipeline
from lvray.jobs.predict import predict_cohort
from lvray.settings import Predict
from lvray.shards.dataset import open_dataset
from lvray.shards.stream import scan

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


@pytest.fixture(scope="module")
def from_shards(lvray: Lvray, cohort: Any, seg: Any) -> Path:
    """The data set predicted, with masks."""
    out = Path(cohort.shards).parent / "from-shards"
    said = lvray("predict", cohort.shards, "--out", out, "--key", cohort.key, "--checkpoint", seg.best, "--masks",
                 "--set", "flush=5", "--json")
    rows = pq.read_metadata(out / "estimates.parquet").num_rows
    assert said.objects() == [{"studies": rows, "estimated": rows, "refused": 0}]
    return out


def table(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["study"]: row for row in pq.read_table(folder / "estimates.parquet").to_pylist()}


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_shards_and_dicom_give_the_same(predicted: Any, from_shards: Path) -> None:
    dicom, shards = table(predicted.folder), table(from_shards)
    assert dicom.keys() == shards.keys()
    for study, row in shards.items():
        same = ("participant", "visit", "ed_phase", "slices", "quality", "network", "weights_sha256")
        assert [row[name] for name in same] == [dicom[study][name] for name in same]
        for name in ("mass_g", "edv_ml", "cavity_mm2", "myocardium_mm2", "spacing_mm"):
            assert row[name] == pytest.approx(dicom[study][name], rel=1e-12)
        pitch = row["spacing_mm"][0]
        assert sum(row["myocardium_mm2"]) * pitch / 1000 * 1.05 == pytest.approx(row["mass_g"])
        assert sum(row["cavity_mm2"]) * pitch / 1000 == pytest.approx(row["edv_ml"])


def test_masks_lie_where_the_study_does(cohort: Any, from_shards: Path) -> None:
    """Of every row of the data set, in patient space (RAS, where DICOM counts in LPS)."""
    told = json.loads((from_shards / "masks" / "dataset.json").read_text())
    assert told["labels"] == {"background": 0, "cavity": 1, "myocardium": 2}
    dataset = open_dataset(str(cohort.shards))
    rows = {row.study: row for _, row in scan(dataset, np.arange(dataset.index.num_rows))}
    masks = {path.name.removesuffix(told["file_ending"]): nib.nifti1.Nifti1Image.from_filename(path)
             for path in (from_shards / "masks").glob("*.nii.gz")}
    assert masks.keys() == rows.keys() == table(from_shards).keys()
    for study, mask in masks.items():
        corner = np.array([1.0, 2.0, 3.0, 1.0])
        ras = mask.affine @ corner[[2, 1, 0, 3]]
        assert ras == pytest.approx((rows[study].affine @ corner) * [-1, -1, 1, 1], abs=1e-3)
        voxel = abs(np.linalg.det(mask.affine[:3, :3])) / 1000 * 1.05
        assert (np.asarray(mask.dataobj) == 2).sum() * voxel == pytest.approx(table(from_shards)[study]["mass_g"])


def test_once_more_nothing_is_read_and_other_weights_are_refused(
        lvray: Lvray, cohort: Any, seg: Any, reg: Any, from_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(from_shards)
    asked = ["predict", cohort.shards, "--out", from_shards, "--key", cohort.key]
    monkeypatch.setattr(pipeline, "outcomes", None)
    assert lvray(*asked, "--checkpoint", seg.best, "--masks").code == 0
    assert files(from_shards) == before
    for more, word in ((["--checkpoint", reg.best], "another weights"),
                       (["--checkpoint", seg.best, "--set", "precision=bf16"], "another precision"),
                       (["--checkpoint", reg.best, "--masks"], "a regressor makes no mask")):
        said = lvray(*asked, *more)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
        assert word in said.err
    assert files(from_shards) == before


def test_cut_short_changed_and_grown(cohort: Any, seg: Any, tmp_path: Path, ray_cluster: None) -> None:
    """A run that ends in the middle goes on; a study whose files change is predicted anew, one that goes leaves."""
    src, out, key = tmp_path / "src", tmp_path / "out", Path(cohort.key).read_bytes()
    src.mkdir()
    for path in [*cohort.good[:4], cohort.bad[0]]:
        shutil.copy2(path, src)
    settings = Predict(flush=1)

    def run(where: Path, stop_at: int | None = None) -> int:
        """-> how many studies it read."""
        done: list[int] = []

        def progress(n: int, of: int, refused: int) -> None:
            done.append(n)
            if n == stop_at:
                raise KeyboardInterrupt

        predict_cohort(str(src), str(where), checkpoint=str(seg.best), key=key, settings=settings, masks=True,
                       progress=progress)
        return done[-1] - done[0]

    with pytest.raises(KeyboardInterrupt):
        run(out, stop_at=3)
    assert list((out / ".lvray-work").rglob("*.jsonl"))
    assert run(out) == 2
    run(tmp_path / "undisturbed")
    assert files(out) == files(tmp_path / "undisturbed")
    shutil.copy2(cohort.good[4], src / cohort.good[3].name)
    os.utime(src / cohort.good[3].name, ns=(1, 1))
    (src / cohort.good[2].name).unlink()
    shutil.copy2(cohort.good[5], src)
    assert run(out) == 2
    assert len(table(out)) == 4
    masses = sorted(row["mass_g"] for row in table(out).values())
    assert len({round(mass, 6) for mass in masses}) == 4


@pytest.mark.parametrize("victim", ["reader", "worker"])
def test_a_study_that_kills_is_refused_alone(cohort: Any, seg: Any, tmp_path: Path, victim: str,
                                             monkeypatch: pytest.MonkeyPatch, ray_cluster: None) -> None:
    """Whoever has the data set's third row ends; nobody tries again but alone."""
    monkeypatch.setattr(pipeline, "RETRIES", 0)
    read, network = pipeline.read, pipeline.Network

    def deadly_read(items: Any, plan: Any) -> Any:
        if any(item.position == 3 for item in items):
            os._exit(1)
        return read(items, plan)

    class DeadlyNetwork(network):  # type: ignore[valid-type,misc]
        def __call__(self, arrived: Any) -> Any:
            if any(one.item.position == 3 for one in pipeline.unpacked(arrived) if isinstance(one, pipeline.Seen)):
                os._exit(1)
            return super().__call__(arrived)

    if victim == "reader":
        monkeypatch.setattr(pipeline, "read", deadly_read)
    else:
        monkeypatch.setattr(pipeline, "Network", DeadlyNetwork)
    made, refused = predict_cohort(str(cohort.shards), str(tmp_path), checkpoint=str(seg.best), key=b"k" * 32)
    rejects = pq.read_table(tmp_path / "rejects.parquet").to_pylist()
    assert [(row["position"], row["reason"]) for row in rejects] == [(3, "gave_up")]
    assert (made, refused) == (len(table(tmp_path)), 1)
