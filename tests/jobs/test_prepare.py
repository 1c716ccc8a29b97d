"""A batch is a pure function of its rows, the seed and the epoch: whoever makes it, with whatever neighbours."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch

from lvray.jobs.prepare import collate, finish, prepare
from lvray.nets import box
from lvray.nets.augment import augment, draw
from lvray.nets.batch import Batch
from lvray.settings import Recipe
from tests.jobs.conftest import small, tiny_row

BOX = (6, 16, 24)
SEG, REG = (small(kind, "augment=true", "network.centre=heart") for kind in ("seg", "reg"))
LARGE = small("seg", "augment=true", "network.box=9,104,88")
"""Large enough for torch to share out among threads."""
CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))


def made(recipe: Recipe, numbers: list[int], epoch: int | None = 3, device: str = "cpu") -> Batch:
    rows = [tiny_row(number) for number in numbers]
    return finish(recipe, collate(recipe, rows, epoch, numbers), torch.device(device))


def row_of(batch: Batch, at: int) -> list[Any]:
    tensors = (batch.image[at], batch.spacing[at], batch.target[at])
    return [batch.numbers[at], *(t.cpu().numpy().tobytes() for t in tensors)]


@pytest.mark.parametrize("recipe", [SEG, REG], ids=["seg", "reg"])
def test_without_augmentation_it_is_boxes_spacings_and_targets(recipe: Recipe) -> None:
    rows = [tiny_row(1), tiny_row(2, heart_yx=(12.0, 4.0), spacing=(8.0, 1.25, 1.5), manual_g=89.7037 - 24.8037)]
    batch = prepare(recipe, rows, None, [7, 5])
    placed = [box.take(row.image, row.heart_yx, BOX) for row in rows]
    np.testing.assert_array_equal(batch.image[:, 0], [taken for taken, _ in placed])
    np.testing.assert_array_equal(batch.spacing, np.array([row.spacing for row in rows], np.float32))
    assert batch.numbers == (7, 5)
    if recipe is SEG:
        masks = [box.take_mask(row.mask, placement) for row, (_, placement) in zip(rows, placed, strict=True)
                 if row.mask is not None]
        np.testing.assert_array_equal(batch.target, masks)
    else:
        assert batch.target.tolist() == pytest.approx([(81 - 89.7037) / 24.8037, -1])
    tensors = batch.image, batch.spacing, batch.target
    assert [t.dtype for t in tensors] == [torch.float32, torch.float32, torch.uint8 if recipe is SEG else torch.float32]


def test_a_box_may_lie_about_the_middle_of_the_image() -> None:
    row = tiny_row(1, heart_yx=(3.0, 4.0))
    batch = prepare(small("seg", "network.centre=image"), [row], None, [1])
    np.testing.assert_array_equal(batch.image[0, 0], box.take(row.image, None, BOX)[0])


@pytest.mark.parametrize("recipe", [SEG, REG], ids=["seg", "reg"])
def test_augmentation_is_what_is_drawn_for_the_row(recipe: Recipe) -> None:
    plain, batch = made(recipe, [4, 9], None), made(recipe, [4, 9])
    for at, number in enumerate([4, 9]):
        drawn, (dz, dy, dx) = draw(recipe.stream.seed, 3, number), tiny_row(number).spacing
        images, masks = augment(plain.image[at], plain.target[[at]] if recipe is SEG else None, [dy / dx], [drawn])
        torch.testing.assert_close(batch.image[at], images)
        torch.testing.assert_close(batch.target[at], plain.target[at] if masks is None else masks[0])
        assert batch.spacing[at].tolist() == pytest.approx(drawn.rescaled((dz, dy, dx)))
    assert not torch.equal(batch.image, plain.image)


def test_what_does_not_see_the_pixel_size_is_not_shown_a_heart_of_another_size() -> None:
    """The mass stays the target, so a magnified heart would be a lie."""
    blind = small("reg", "augment=true", "network.centre=heart", "network.pixel_size=false")
    rows = [tiny_row(number) for number in (1, 2)]
    assert [one.scale for one in collate(blind, rows, 3, [1, 2]).draws] == [1.0, 1.0]
    assert all(one.scale != 1 for one in collate(REG, rows, 3, [1, 2]).draws)
    unseen, seen = (collate(recipe, rows, 3, [1, 2]).draws[0] for recipe in (blind, REG))
    assert (unseen.angle, unseen.noise_seed) == (seen.angle, seen.noise_seed)


def test_both_networks_see_the_same_image() -> None:
    assert torch.equal(made(SEG, [1, 2]).image, made(REG, [1, 2]).image)


def test_it_is_another_one_for_another_seed_epoch_or_row_number() -> None:
    row = [tiny_row(1)]
    seeded = small("seg", "augment=true", "network.centre=heart", "stream.seed=1")
    seen = [prepare(SEG, row, 3, [1]), prepare(seeded, row, 3, [1]), prepare(SEG, row, 4, [1]),
            prepare(SEG, row, 3, [2])]
    for kind in ("image", "spacing", "target"):
        assert len({getattr(batch, kind).numpy().tobytes() for batch in seen}) == len(seen)


def test_augmentation_off_is_none() -> None:
    plain = small("seg", "augment=false", "network.centre=heart")
    assert row_of(made(plain, [1]), 0) == row_of(made(SEG, [1], None), 0)


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_row_is_the_same_bytes_whatever_its_batch_and_the_thread_that_made_it(device: str, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        alone = {number: row_of(made(LARGE, [number], device=device), 0) for number in (1, 2, 3)}
        batches = [list(numbers) for size in (2, 3) for numbers in permutations(alone, size)]
        with ThreadPoolExecutor(4) as pool:
            for batch in pool.map(lambda numbers: made(LARGE, numbers, device=device), batches):
                assert [row_of(batch, at) for at in range(len(batch.numbers))] == [alone[n] for n in batch.numbers]
    finally:
        torch.set_num_threads(before)


def test_the_devices_half_can_be_done_again() -> None:
    raw = collate(SEG, [tiny_row(1), tiny_row(2)], 3, [1, 2])
    first, again = (finish(SEG, raw, torch.device("cpu")) for _ in range(2))
    assert row_of(first, 1) == row_of(again, 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_it_is_pinned_on_the_way_and_the_same_but_for_noise() -> None:
    raw = collate(LARGE, [tiny_row(1), tiny_row(2)], 3, [1, 2])
    assert all(t.is_pinned() for t in (raw.batch.image, raw.batch.spacing, raw.batch.target))
    there, here = (finish(LARGE, raw, torch.device(device)) for device in ("cuda", "cpu"))
    assert torch.equal(there.spacing.cpu(), here.spacing)
    assert (there.target.cpu() != here.target).float().mean() < 1e-3
    difference = (there.image.cpu() - here.image)[here.image != 0]
    assert difference.abs().mean() < 0.2


def test_more_slices_than_the_box_are_never_dropped_in_silence() -> None:
    with pytest.raises(ValueError, match="7 slices do not fit a box of 6"):
        prepare(SEG, [tiny_row(1), tiny_row(2, image=np.zeros((7, 20, 22), np.int16))], None, [1, 2])
