"""One study to one estimate: what it holds, that file names and order do not matter, that nobody's name shows."""

from __future__ import annotations

import io
import json
import random
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from lvray.cmr.archive import folder_members, zip_members
from lvray.cmr.ed import end_diastole
from lvray.cmr.geometry import canonical
from lvray.cmr.nifti import write
from lvray.cmr.phantom.participant import Participant, participant
from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write_participant
from lvray.cmr.quality import Flag
from lvray.cmr.study import Cine, read_cine
from lvray.errors import EnvironmentFault, LvrayError, Reason, StudyRefused
from lvray.estimate import Estimate, measure_contours, measure_mask, measure_overlays, predict
from lvray.evidence import conformal
from lvray.nets.build import build
from lvray.nets.checkpoint import Checkpoint
from lvray.nets.predict import Predictor
from lvray.nets.trained import Drawn

OPTIONS = PhantomOptions(phases=4, slices=7, rows=80, columns=72)
KEYS = {"mass_g", "method", "ed_phase", "ed_instances", "stack_instances", "spacing_mm", "slices", "quality", "edv_ml",
        "esv_ml", "ef", "lvmi_g_m2", "network", "versions", "centred_g", "interval_g", "interval_level", "cavity_mm2",
        "myocardium_mm2", "agreement"}
RANGES: dict[str, list[float]] = {
    "dz_mm": [9.0, 11.0], "dy_mm": [1.0, 3.0], "dx_mm": [1.0, 3.0], "slices": [6, 13], "mass_g": [0.0, 1e4],
}


@pytest.fixture(scope="module")
def subject() -> Participant:
    """With InlineVF outlines and none of the quirks."""
    subjects = (participant(0, number, OPTIONS) for number in range(200))
    return next(s for s in subjects if not s.quirks and s.person.inlinevf == "normal")


@pytest.fixture(scope="module")
def files(subject: Participant, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The study's files by name."""
    path = write_participant(tmp_path_factory.mktemp("phantom"), 0, subject.number, OPTIONS)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def cine(files: dict[str, bytes]) -> Cine:
    return from_zip(files)


@pytest.fixture(scope="module")
def sunnybrook() -> Path:
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "sunnybrook"
    if not folder.is_dir():
        pytest.skip("no real data: ../shared/data is not there")
    return folder


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def from_zip(files: dict[str, bytes]) -> Cine:
    return read_cine(zip_members(io.BytesIO(zipped(files))))


def disguises(files: dict[str, bytes], folder: Path) -> list[Cine]:
    """The same study under random names, shuffled: in a zip, and in folders within folders."""
    r = random.Random(7)
    contents = list(files.values())
    r.shuffle(contents)
    names = [f"{'/'.join(r.choices('abc', k=r.randrange(3)))}/{r.randrange(10**9)}".lstrip("/") for _ in contents]
    renamed = dict(zip(names, contents, strict=True))
    assert len(renamed) == len(files)
    for name, data in renamed.items():
        path = folder / f"in_{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return [from_zip(renamed), read_cine(folder_members(folder))]


def same(a: Estimate, b: Estimate) -> bool:
    return a.to_dict() == b.to_dict() and np.array_equal(a.affine, b.affine) and (
        np.array_equal(a.mask, b.mask) if a.mask is not None and b.mask is not None else a.mask is b.mask)


def network(kind: str, for_show: bool = False, **ranges: list[float]) -> Predictor:
    """Untrained weights: a small box around the heart."""
    torch.manual_seed(3)
    model = build(kind, 2, (8, 32, 32), True)
    settings = {"name": f"test_{kind}", "for_show": for_show, "target": {"mean_g": 100.0, "sd_g": 20.0},
                "network": {"kind": kind, "width": 2, "pixel_size": True, "box": [8, 32, 32], "centre": "heart",
                            "pixel_mm": None, "views": 1}}
    saved = Checkpoint(settings=settings, weights={}, optimiser={}, scheduler={}, epoch=1, step=0, seed=0, data="",
                       version="0", mode={}, world=1, trained_on=RANGES | ranges, metrics={})
    return Predictor(checkpoint=saved, weights_sha256="ab" * 32, model=model.eval())


class BrightIsWall(Predictor):
    """A segmenter whose answer is known: myocardium is what is brighter than 300."""

    def segment(self, image: Any, spacing: Any, centre_yx: Any = None, tilt: float = 0.0) -> Any:
        return Drawn(np.where(image > 300, 2, 0).astype(np.uint8), 0.9)


@pytest.fixture(scope="module")
def bright() -> Predictor:
    return BrightIsWall(**vars(network("seg")))


def test_what_a_measurement_holds(cine: Cine, subject: Participant) -> None:
    found = measure_overlays(cine)
    assert found.mask is not None
    answer = json.loads(json.dumps(found.to_dict()))
    assert set(answer) == KEYS
    assert answer["method"] == "overlay"
    assert answer["ed_phase"] == 1
    assert len(answer["ed_instances"]) == answer["slices"] == len([z for z in found.mask if z.any()])
    assert answer["spacing_mm"] == pytest.approx([10, subject.scan.pixel_mm, subject.scan.pixel_mm], abs=1e-3)
    assert answer["ef"] == pytest.approx(1 - answer["esv_ml"] / answer["edv_ml"])
    area = 0.007184 * subject.person.height_cm**0.725 * subject.person.weight_kg**0.425
    assert answer["lvmi_g_m2"] == pytest.approx(answer["mass_g"] / area, rel=1e-3)
    assert answer["network"] is None
    assert answer["versions"]["lvray"]
    assert found.mask.shape == cine.shape


def test_what_a_prediction_holds(cine: Cine, bright: Predictor) -> None:
    answer = json.loads(json.dumps(predict(cine, bright).to_dict()))
    assert set(answer) == KEYS
    assert (answer["method"], answer["ed_phase"]) == ("ML4Hseg", 1)
    assert answer["network"] == {"kind": "seg", "recipe": "test_seg", "weights": "ab" * 8}
    assert (answer["esv_ml"], answer["ef"]) == (None, None)


def test_a_calibrated_network_gives_an_interval_and_says_what_it_rests_on(cine: Cine, bright: Predictor) -> None:
    raw = predict(cine, bright)
    assert raw.mass_g is not None
    people = ([100.0 + e for e in range(20)], [100.0] * 20, [None] * 20)
    for kind in ("real", "phantom"):
        fitted = conformal.fit(*people, method="ML4Hseg", kind=kind, weights_sha256="ab", data="cd")
        found = predict(cine, replace(bright, intervals=json.loads(json.dumps(fitted.to_dict()))))
        assert found.interval_g == pytest.approx((raw.mass_g - 18, raw.mass_g + 18))
        assert found.interval_level == 0.9
        assert found.quality == raw.quality  # the study is a phantom's itself
        person = replace(cine, flags=tuple(flag for flag in cine.flags if flag != Flag.PHANTOM))
        of_person = predict(person, replace(bright, intervals=fitted.to_dict()))
        assert ("interval_from_phantoms" in of_person.quality) == (kind == "phantom")


def test_a_regressor_gives_no_mask(cine: Cine) -> None:
    found = predict(cine, network("reg"))
    assert found.method == "ML4Hreg"
    assert found.mass_g == pytest.approx(100, abs=60)
    assert (found.mask, found.edv_ml, found.slices) == (None, None, 7)


def test_the_predicted_mask_lies_in_the_studys_own_grid(cine: Cine, bright: Predictor) -> None:
    found = predict(cine, bright)
    assert found.mask is not None
    assert np.array_equal(found.mask, np.where(cine.volume(0).image > 300, 2, 0))
    mirrored = replace(cine, affine=cine.affine * [1, -1, 1, 1])
    assert canonical(mirrored.affine) != canonical(cine.affine)
    again = predict(mirrored, bright).mask
    assert again is not None
    assert np.array_equal(again, found.mask)


def test_no_heart_in_the_mask(cine: Cine) -> None:
    class Nothing(BrightIsWall):
        def segment(self, image: Any, spacing: Any, centre_yx: Any = None, tilt: float = 0.0) -> Any:
            return Drawn(np.zeros(image.shape, np.uint8))

    with pytest.raises(StudyRefused) as refused:
        predict(cine, Nothing(**vars(network("seg"))))
    assert refused.value.reason == Reason.NO_HEART


def test_flags_say_when_not_to_trust(cine: Cine) -> None:
    training = {"spacing_outside_training", "slices_outside_training", "mass_outside_training", "demo_weights"}
    assert not training & set(predict(cine, network("reg")).quality)
    elsewhere = network("reg", for_show=True, dy_mm=[3.0, 4.0], slices=[8, 9], mass_g=[1.0, 2.0])
    assert training <= set(predict(cine, elsewhere).quality)


@pytest.mark.parametrize("kind", ["seg", "reg"])
@pytest.mark.parametrize(("fact", "flag"), [
    ("dz_mm", "spacing_outside_training"), ("dy_mm", "spacing_outside_training"),
    ("dx_mm", "spacing_outside_training"), ("slices", "slices_outside_training"), ("mass_g", "mass_outside_training")])
def test_each_fact_outside_the_training_range_is_flagged(cine: Cine, kind: str, fact: str, flag: str) -> None:
    """The range of one fact ends below, or begins above, what the study (10 mm pitch, 7 slices) has."""
    for elsewhere in ([0.01, 0.02], [2e4, 3e4]):
        trained = network(kind, False, **{fact: elsewhere})
        found = predict(cine, BrightIsWall(**vars(trained)) if kind == "seg" else trained)
        assert {f for f in found.quality if f.endswith("_outside_training")} == {flag}


def test_predict_edit_measure_gives_the_same_grams(cine: Cine, bright: Predictor, tmp_path: Path) -> None:
    predicted = predict(cine, bright)
    assert predicted.mask is not None
    file, edited = tmp_path / "mask.nii.gz", tmp_path / "edited.nii.gz"
    write(file, predicted.mask, predicted.affine)
    nib.save(nib.as_closest_canonical(nib.load(file)), edited)
    for path in (file, edited):
        measured = measure_mask(cine, path)
        keep = KEYS - {"method", "network", "quality", "agreement"}
        assert {k: measured.to_dict()[k] for k in keep} == {k: predicted.to_dict()[k] for k in keep}
        assert measured.method == "mask"
    write(file, np.minimum(predicted.mask, 1), predicted.affine)
    with pytest.raises(StudyRefused, match="no myocardium") as refused:
        measure_mask(cine, file)
    assert refused.value.reason == Reason.NO_OUTLINES


def test_a_mask_that_cannot_be_the_ventricles_is_refused_or_flagged(cine: Cine, tmp_path: Path) -> None:
    file, (rows, columns) = tmp_path / "mask.nii.gz", cine.shape[1:]
    r = np.hypot(*np.mgrid[:rows, :columns] - np.array(end_diastole(cine).centre_yx)[:, None, None])
    ring = np.stack([np.where(r < 8, 1, np.where(r < 12, 2, 0)).astype(np.uint8)] * len(cine.frames))
    write(file, ring, cine.affine)
    assert "outlines_off_heart" not in measure_mask(cine, file).quality
    write(file, np.roll(ring, rows // 3, 1), cine.affine)
    assert "outlines_off_heart" in measure_mask(cine, file).quality
    write(file, np.array([0, 2, 1], np.uint8)[ring], cine.affine)
    with pytest.raises(StudyRefused, match="labels exchanged"):
        measure_mask(cine, file)
    write(file, ring[1:], cine.affine)
    with pytest.raises(StudyRefused, match=f"{len(ring) - 1} x {rows} x {columns} voxels .* the study {len(ring)} x"):
        measure_mask(cine, file)


def test_names_and_order_do_not_matter(cine: Cine, files: dict[str, bytes], bright: Predictor, tmp_path: Path) -> None:
    for disguised in disguises(files, tmp_path):
        assert same(measure_overlays(disguised), measure_overlays(cine))
        assert same(predict(disguised, bright), predict(cine, bright))


def test_names_and_order_do_not_matter_for_a_real_study(sunnybrook: Path, bright: Predictor, tmp_path: Path) -> None:
    folder, contours = sunnybrook / "dicom" / "SCD0000101", sunnybrook / "contours" / "SC-HF-I-1"
    plain = read_cine(folder_members(folder))
    expected = [measure_contours(plain, contours), predict(plain, bright)]
    assert expected[0].mass_g == pytest.approx(116.7, rel=0.02)
    assert expected[0].ed_instances == list(range(59, 220, 20))
    assert (expected[0].lvmi_g_m2, expected[1].ed_phase) == (None, 19)
    for disguised in disguises({p.name: p.read_bytes() for p in folder.iterdir()}, tmp_path):
        assert same(measure_contours(disguised, contours), expected[0])
        assert same(predict(disguised, bright), expected[1])


def test_endocardium_alone(sunnybrook: Path) -> None:
    cine = read_cine(folder_members(sunnybrook / "dicom" / "SCD0000501"))
    found = measure_contours(cine, sunnybrook / "contours" / "SC-HF-I-6")
    assert (found.mass_g, found.lvmi_g_m2) == (None, None)
    assert found.edv_ml is not None
    assert found.edv_ml > (found.esv_ml or 1e9)
    assert "epicardium_absent" in found.quality


def test_nobodys_name_shows(files: dict[str, bytes], subject: Participant, bright: Predictor, tmp_path: Path) -> None:
    """The phantom plants a name, an id, a birth date; the paths hold the id as UK Biobank's do."""
    who = subject.person
    secrets = [str(who.eid), who.name, who.name.split("^")[0], f"{who.birth:%Y%m%d}", f"{who.birth:%Y-%m-%d}"]
    folder = tmp_path / str(who.eid)
    for number, (name, data) in enumerate(files.items()):
        path = folder / f"{who.eid}_{number}" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    assert any(secrets[1].encode() in data for data in files.values())
    cine = read_cine(folder_members(folder))
    said = [repr(cine), str(cine), repr(cine.frames), repr(folder_members(folder))]
    for found in (measure_overlays(cine), predict(cine, bright)):
        said += [repr(found), str(found), json.dumps(found.to_dict())]
    said += [str(e) + repr(e) for e in refusals(folder, files, str(who.eid))]
    assert [s for s in said for secret in secrets if secret in s] == []


def refusals(folder: Path, files: dict[str, bytes], eid: str) -> list[LvrayError]:
    """Errors of every kind about a study whose files are named by its participant's id."""
    named = {f"{eid}_{n}.dcm": data for n, data in enumerate(files.values()) if len(data) > 2000}
    first = f"{eid}_0.dcm"
    cut = {**named, first: named[first][:-100]}
    text = {**named, f"{eid}_x.dcm": b"no DICOM"}
    found: list[LvrayError] = []
    for broken in (cut, text, {**named, f"../{eid}": b""}, {}, dict(list(named.items())[:4])):
        with pytest.raises(StudyRefused) as refused:
            from_zip(broken)
        found.append(refused.value)
    assert len({e.reason for e in found if isinstance(e, StudyRefused)}) == 4
    damaged = zipped(named)
    at = damaged.index(named[first]) + 500
    with pytest.raises(StudyRefused) as refused:
        read_cine(zip_members(io.BytesIO(damaged[:at] + b"?????" + damaged[at + 5:])))
    members = folder_members(folder)
    next(folder.rglob("*.dcm")).unlink()
    with pytest.raises(EnvironmentFault) as fault:
        read_cine(members)
    return [*found, refused.value, fault.value]
