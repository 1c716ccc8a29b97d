from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lvray.errors import CheckpointError, StudyRefused
from lvray.nets.build import build
from lvray.nets.checkpoint import Checkpoint, read, write
from lvray.nets.predict import VIEWS, Predictor, load

SPACING = (10.0, 1.8, 1.7)
TRAINED_ON: dict[str, list[float]] = {
    "dz_mm": [8.0, 10.0], "dy_mm": [1.7, 1.9], "dx_mm": [1.7, 1.9], "slices": [3, 4], "mass_g": [60.0, 200.0]}


def saved(folder: Path, kind: str, centre: str = "image", pitch: bool = False,
          pixel_mm: float | None = None, views: int = 1, **changes: Any) -> Path:
    torch.manual_seed(0)
    model = build(kind, 4, (4, 16, 16), True, pitch)
    network = {"kind": kind, "width": 4, "pixel_size": True, "pitch": pitch, "box": [4, 16, 16], "centre": centre,
               "pixel_mm": pixel_mm, "views": views}
    settings = {"name": "test", "for_show": False, "network": network, "target": {"mean_g": 100.0, "sd_g": 20.0}}
    whole = Checkpoint(settings=settings,
                       weights=model.state_dict(), optimiser=torch.optim.Adam(model.parameters()).state_dict(),
                       scheduler={}, epoch=0, step=0, seed=0, data="", version="0.1.0", mode={}, world=1,
                       trained_on=TRAINED_ON, metrics={})
    write(folder, replace(whole, **changes))
    return folder


def study(slices: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 900, (slices, 20, 30)).astype(np.int16)


def brighter_is_cavity(predictor: Predictor) -> Predictor:
    """The network replaced in effect by a threshold, so that the answer is known."""
    model: Any = predictor.model
    for p in model.parameters():
        p.data.zero_()
    model.encoder.stem.weight.data[0, 0, 1, 1, 1] = 1
    model.fine.weight.data[1, 0] = 1
    return predictor


@pytest.mark.parametrize("slices", [2, 4, 7])
def test_mask_lies_in_the_images_own_grid(tmp_path: Path, slices: int) -> None:
    predictor = brighter_is_cavity(load(saved(tmp_path, "seg")))
    image = np.zeros((slices, 20, 30), np.int16)
    image[:, 8:12, 13:18] = 500
    expected = (image > 0).astype(np.uint8)
    image[0, 3, 9] = 500  # a speck beside the heart, inside the box
    mask = predictor.segment(image, SPACING).mask
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, expected)


def test_the_heart_is_found_where_the_centre_says(tmp_path: Path) -> None:
    predictor = brighter_is_cavity(load(saved(tmp_path, "seg", centre="heart")))
    image = np.zeros((4, 20, 60), np.int16)
    image[:, 8:12, 50:55] = 500
    np.testing.assert_array_equal(predictor.segment(image, SPACING, (10.0, 52.0)).mask, image > 0)
    with pytest.raises(ValueError, match="centre"):
        predictor.segment(image, SPACING)


def test_regressor_answers_in_grams_of_its_own_target(tmp_path: Path) -> None:
    predictor = load(saved(tmp_path, "reg"))
    grams = predictor.regress(study(), SPACING)
    model: Any = predictor.model
    model.out.weight.data.zero_()
    model.out.bias.data.fill_(-0.5)
    assert grams != 90
    assert predictor.regress(study(), SPACING) == 90


@pytest.mark.parametrize("pitch", [False, True])
def test_the_pixel_size_is_used_and_the_pitch_where_the_network_knows_it(tmp_path: Path, pitch: bool) -> None:
    predictor = load(saved(tmp_path, "reg", pitch=pitch))
    grams = predictor.regress(study(), SPACING)
    assert (predictor.regress(study(), (8.0, 1.8, 1.7)) == grams) != pitch
    assert predictor.regress(study(), (10.0, 1.7, 1.8)) != grams


def test_a_network_trained_in_bf16_predicts_in_fp32(tmp_path: Path) -> None:
    mode = {"precision": "bf16", "channels_last": True, "compile": True}
    grams = load(saved(tmp_path / "bf16", "reg", mode=mode)).regress(study(), SPACING)
    assert grams == load(saved(tmp_path / "fp32", "reg")).regress(study(), SPACING)


def test_more_slices_than_the_regressors_box(tmp_path: Path) -> None:
    with pytest.raises(StudyRefused, match=r"5 slices.*too_many_slices"):
        load(saved(tmp_path, "reg")).regress(study(5), SPACING)


def test_outside_training(tmp_path: Path) -> None:
    predictor = load(saved(tmp_path, "seg"))
    assert predictor.outside_training(dz_mm=10.0, slices=4) == []
    assert predictor.outside_training(dz_mm=9.9999, slices=4) == []
    assert predictor.outside_training(dz_mm=10.2, slices=2) == ["dz_mm", "slices"]


def test_a_pixel_size_for_all_brings_a_study_to_it_and_the_mask_back(tmp_path: Path) -> None:
    """Each pixel thrice in both directions: a third of the size shows the same box."""
    predictor = load(saved(tmp_path, "seg", pixel_mm=1.8))
    image = np.random.default_rng(0).normal(100, 30, (4, 40, 40)).astype(np.float32)
    fine = image.repeat(3, 1).repeat(3, 2)
    one, other = predictor.shown(image, (10.0, 1.8, 1.8)), predictor.shown(fine, (10.0, 0.6, 0.6))
    assert one.spacing == other.spacing == (10.0, 1.8, 1.8)
    assert np.corrcoef(one.image.ravel(), other.image.ravel())[0, 1] > 0.8
    mask = predictor.segment(fine, (10.0, 0.6, 0.6)).mask
    assert mask.shape == fine.shape
    assert not mask[:, [0, -1]].any()  # beyond the box


def test_views_are_all_eight_and_each_is_undone() -> None:
    image = np.arange(2 * 5 * 5, dtype=np.float32).reshape(2, 5, 5)
    seen = {view.turned(image).tobytes() for view in VIEWS}
    assert len(seen) == 8
    for view in VIEWS:
        undone = view.undone(torch.from_numpy(view.turned(image))[None])
        np.testing.assert_array_equal(undone[0], image)


def test_an_average_of_views_turns_with_the_study(tmp_path: Path) -> None:
    """All eight are the same set however the study lies: the same mask, turned, and the same agreement."""
    predictor = load(saved(tmp_path, "seg", pixel_mm=1.8, views=8))
    image = np.random.default_rng(0).normal(100, 30, (4, 16, 16)).astype(np.float32)
    drawn = predictor.segment(image, (10.0, 1.8, 1.8))
    assert len(np.unique(drawn.mask)) > 1
    for quarters, mirror in ((0, True), (1, False), (3, True)):
        turned = np.rot90(image[:, :, ::-1] if mirror else image, quarters, (1, 2))
        other = predictor.segment(np.ascontiguousarray(turned), (10.0, 1.8, 1.8))
        back = np.rot90(other.mask, -quarters, (1, 2))
        assert ((back[:, :, ::-1] if mirror else back) == drawn.mask).mean() > 0.999
        assert other.agreement == pytest.approx(drawn.agreement, abs=1e-3)
    assert load(saved(tmp_path / "one", "seg")).segment(image, SPACING).agreement is None


def test_agreement_is_that_of_the_walls(tmp_path: Path) -> None:
    predictor = brighter_is_cavity(load(saved(tmp_path, "seg", pixel_mm=1.8, views=4)))
    image = np.zeros((4, 16, 16), np.float32)
    image[:, 5:11, 5:11] = 500
    assert predictor.segment(image, SPACING).agreement == 0  # a cavity alone: there is no wall to agree on


def test_mask_at_the_boxs_border(tmp_path: Path) -> None:
    predictor = load(saved(tmp_path, "seg"))
    mask = np.zeros((4, 20, 30), np.uint8)
    mask[:, 3:17, 8:22] = 1  # the box is rows 2 to 17, columns 7 to 22
    assert not predictor.at_border(mask, (10.0, 1.8, 1.8))
    mask[2, 17, 10] = 2
    assert predictor.at_border(mask, (10.0, 1.8, 1.8))


def test_wrong_kind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="segmenter"):
        load(saved(tmp_path / "seg", "seg")).regress(study(), SPACING)
    with pytest.raises(ValueError, match="regressor"):
        load(saved(tmp_path / "reg", "reg")).segment(study(), SPACING)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="do not fit"):
        load(saved(tmp_path, "seg", weights={}))


ABSENT = object()


@pytest.mark.parametrize(("where", "value"), [
    ("settings", {}), ("settings", None), ("trained_on", None), ("settings.network", None),
    ("settings.name", ABSENT), ("settings.for_show", ABSENT), ("settings.for_show", "no"),
    ("settings.target", None), ("settings.target.sd_g", 0), ("settings.target.mean_g", float("nan")),
    ("settings.network.kind", "unet"), ("settings.network.width", 4.0), ("settings.network.centre", "apex"),
    ("settings.network.pixel_size", None), ("settings.network.pitch", ABSENT), ("settings.network.pitch", 1),
    ("settings.network.box", 63), ("settings.network.box", [4, 16]),
    ("settings.network.box", [4, 16, 63]), ("settings.network.box", [0, 16, 16]),
    ("trained_on.mass_g", ABSENT), ("trained_on.dz_mm", [8.0]), ("trained_on.dz_mm", None),
    ("trained_on.slices", ["3", "4"]), ("trained_on.dx_mm", [1.7, 10 ** 400]),
])
def test_a_state_that_is_whole_but_breaks_its_contract(tmp_path: Path, where: str, value: object) -> None:
    whole = read(saved(tmp_path / "whole", "seg"))
    state: Any = {"settings": whole.settings, "trained_on": whole.trained_on}
    *parents, last = where.split(".")
    place = state
    for name in parents:
        place = place[name]
    if value is ABSENT:
        del place[last]
    else:
        place[last] = value
    with pytest.raises(CheckpointError, match="checkpoint's state"):
        load(saved(tmp_path / "broken", "seg", **state))


@pytest.mark.parametrize("kind", ["seg", "reg"])
def test_who_shares_a_pass_changes_no_bit(tmp_path: Path, kind: str) -> None:
    """Five studies, one of them taller than a segmenter's box: three a pass, in another order, each alone."""
    predictor = load(saved(tmp_path, kind, pixel_mm=1.7, views=4 if kind == "seg" else 1))
    ask: Any = predictor.masks if kind == "seg" else predictor.masses
    images = [study(slices) + 37 * number for number, slices in enumerate((4, 3, 4, 2 if kind == "reg" else 5, 4))]
    shown = [predictor.shown(image, SPACING) for image in images]
    first = ask(shown, 3)
    for again in (ask(shown[::-1], 3)[::-1], ask(shown, 1)):
        if kind == "reg":
            assert again == first
        else:
            assert all(np.array_equal(a.mask, b.mask) for a, b in zip(first, again, strict=True))
            assert [one.agreement for one in first] == [one.agreement for one in again]
