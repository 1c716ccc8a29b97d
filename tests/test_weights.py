"""The weights that come with lvray, as a stranger meets them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import affine_transform

from lvray.cmr.archive import zip_members
from lvray.cmr.mass import grams
from lvray.cmr.phantom.participant import participant, truth
from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write_participant
from lvray.cmr.study import read_cine
from lvray.errors import StudyRefused
from lvray.estimate import View, predicted, view
from lvray.jobs import evaluate
from lvray.jobs.calibrate import uses_of_training
from lvray.jobs.generate import generate
from lvray.nets.predict import Predictor, load
from lvray.settings import Tensorize
from lvray.shards.dataset import open_dataset
from lvray.weights import own
from scripts.weights import turn
from tests.jobs.conftest import tiny_row
from tests.shards.conftest import write_to

SEED, MANY = 77, 4
FOLDER = Path(own.located(own.DEFAULT))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load(FOLDER)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("phantoms")
    return [write_participant(folder, SEED, number, PhantomOptions(phases=4)) for number in range(MANY)]


@pytest.fixture(scope="module")
def views(studies: list[Path]) -> list[View]:
    return [seen(file) for file in studies]


def seen(file: Path) -> View:
    with file.open("rb") as opened:
        return view(read_cine(zip_members(opened)))


def answer(predictor: Predictor, of: View) -> Any:
    return predicted(of, predictor.segment(of.image, of.spacing, of.centre_yx, of.tilt), predictor)


def test_they_are_small_and_hold_nothing_but_weights(predictor: Predictor) -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 6 << 20
    assert predictor.checkpoint.optimiser == {"state": {}, "param_groups": []}
    assert not predictor.checkpoint.settings["for_show"]
    assert (FOLDER.parent / "README.md").is_file()


def test_phantoms_are_measured_and_trusted(predictor: Predictor, views: list[View]) -> None:
    """Within a quarter each, and a fifth in the median: real patients' outlines made masses of phantoms smaller."""
    options = PhantomOptions(phases=4)
    true = [truth(participant(SEED, number, options)).mass_g for number in range(MANY)]
    found = [answer(predictor, of) for of in views]
    errors = np.abs([one.mass_g / mass - 1 for one, mass in zip(found, true, strict=True)])
    assert errors.max() < 0.25
    assert np.median(errors) < 0.2
    assert not any("not_trustworthy" in one.quality for one in found)


@pytest.mark.parametrize("kind", ["noise", "smooth", "constant", "striped"])
def test_what_is_no_heart_is_refused_or_called_not_trustworthy(predictor: Predictor, views: list[View],
                                                               kind: str) -> None:
    r = np.random.default_rng(0)
    shape = views[0].image.shape
    image = {"noise": r.normal(300, 80, shape), "smooth": np.cumsum(r.normal(0, 9, shape), 1),
             "constant": np.full(shape, 7.0),
             "striped": np.broadcast_to(300 * np.sin(np.arange(shape[2]) / 6), shape)}[kind]
    of = View(**{**vars(views[0]), "image": image.astype(np.float32)})
    try:
        said = answer(predictor, of).quality
    except StudyRefused as refusal:
        said = [refusal.reason]
    assert {"not_trustworthy", "no_heart"} & set(said)


@pytest.mark.parametrize(("degrees", "most"), [(90, 0.05), (20, 0.1), (135, 0.1)])
@pytest.mark.parametrize("mirror", [False, True])
def test_a_study_turned_or_mirrored_in_its_plane_weighs_about_the_same(
        predictor: Predictor, views: list[View], degrees: int, most: float, mirror: bool) -> None:
    """As it reaches the network: turned about the heart, so that no canonical orientation helps."""
    apart = []
    for of in views[:2]:
        image, at = turned(of, degrees, mirror)
        found = predictor.segment(image, of.spacing, at)
        as_it_was = predictor.segment(of.image, of.spacing, of.centre_yx)
        apart.append(abs(grams(found.mask, of.spacing) / grams(as_it_was.mask, of.spacing) - 1))
    assert np.median(apart) < most / 2
    assert max(apart) < most


@pytest.mark.parametrize(("degrees", "mirror", "most"), [
    (90, False, 0.005), (180, False, 0.005), (270, True, 0.005), (0, True, 0.005), (37, False, 0.02),
    (-160, True, 0.02)])
def test_a_study_turned_or_mirrored_with_its_geometry_weighs_the_same(
        predictor: Predictor, views: list[View], studies: list[Path], tmp_path: Path, degrees: float,
        mirror: bool, most: float) -> None:
    """Files that say how they lie show the network the same box."""
    moved = tmp_path / "moved.zip"
    with zipfile.ZipFile(studies[0]) as before, zipfile.ZipFile(moved, "w") as after:
        for name in before.namelist():
            if name.endswith(".dcm"):
                after.writestr(name, turn.turned(before.read(name), degrees, mirror))
    found, as_it_was = answer(predictor, seen(moved)), answer(predictor, views[0])
    assert found.mass_g == pytest.approx(as_it_was.mass_g, rel=most)
    assert found.quality == as_it_was.quality


def turned(of: View, degrees: float, mirror: bool) -> tuple[np.ndarray, tuple[float, float]]:
    """Of square pixels, about the heart's centre, which stays."""
    angle, centre = np.radians(degrees), np.array(of.centre_yx)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([1, -1 if mirror else 1])
    planes = of.image.astype(float)
    image = np.stack([affine_transform(plane, turn, centre - turn @ centre, order=1) for plane in planes])
    return image, (float(centre[0]), float(centre[1]))


def test_predict_uses_them_where_no_checkpoint_is_named(studies: list[Path], lvray: Callable[..., Any]) -> None:
    said = lvray("predict", studies[0], "--json")
    assert said.code == 0, said.err
    assert said.objects()[0]["network"]["recipe"] == "own_seg"
    assert said.objects() == lvray("predict", studies[0], "--checkpoint", "default", "--json").objects()


def test_a_group_evaluates_and_calibrates_them_on_people_of_its_own(predictor: Predictor, tmp_path: Path) -> None:
    """Whom they have seen is known, so that nobody need show it; the report says it."""
    dataset = write_to(str(tmp_path / "data"), [tiny_row(n, split="holdout") for n in range(3)], Tensorize())
    ready = evaluate.check(dataset.uri, [str(FOLDER)], str(tmp_path / "report"), evaluate.Ask(None, ("holdout",)))
    assert ready.doubts == []
    gone_on = replace(predictor, checkpoint=replace(predictor.checkpoint, data="0" * 64, earlier=[*own.data()]))
    assert [use.data for use in uses_of_training(gone_on, dataset)] == ["0" * 64]


def test_on_generated_hearts_it_must_be_shown_that_they_were_not_trained_on(
        predictor: Predictor, tmp_path: Path, ray_cluster: None) -> None:
    generate(str(tmp_path), 2, 0, Tensorize(), lambda done, of: None)
    assert {use.data for use in uses_of_training(predictor, open_dataset(str(tmp_path)))} == own.data()


def test_they_are_described_and_stay_as_they_are(tmp_path: Path, lvray: Callable[..., Any]) -> None:
    [found] = lvray("checkpoint", "show", "default", "--json").objects()
    assert found["recipe"] == "own_seg"
    said = lvray("calibrate", "default", "--data", tmp_path)
    assert (said.code, said.out) == (2, "")
    assert f"copy the folder {FOLDER} and" in said.err
    state = json.loads((FOLDER / "state.json").read_text())
    assert state["scheduler"] == {}
