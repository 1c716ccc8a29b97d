"""One training step: the loss is the global batch's mean, and a loss that is not finite changes no weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lvray import recipes
from lvray.jobs.step import Batch, optimiser_of, prepare, row_losses, train_step
from lvray.nets.build import build
from lvray.settings import Recipe
from lvray.shards.schema import Row

BOX = (6, 16, 24)
SEG = recipes.override(recipes.smoke_seg(), ["network.width=2", "network.box=6,16,24", "stream.batch=2",
                                             "stream.lanes=2"])
REG = recipes.override(recipes.smoke_reg(), ["network.width=2", "network.box=6,16,24", "stream.batch=2",
                                             "stream.lanes=2"])


def row(number: int) -> Row:
    rng = np.random.default_rng(number)
    image = rng.integers(0, 900, (5, 20, 30)).astype(np.int16)
    return Row(participant="0" * 32, study="0" * 32, source="0" * 32, given="0" * 32, split="train", image=image,
               mask=(image // 301).astype(np.uint8), mask_source="expert", spacing=(10.0, 1.5, 1.25),
               affine=np.eye(4), heart_yx=(9.0, 14.0), ed_phase=1, manual_g=89.7037 + 24.8037 * number)


def test_a_batch_is_boxes_in_plane_spacing_and_targets() -> None:
    batch = prepare(SEG, [row(1), row(2)], None, [1, 2])
    assert batch.image.shape == (2, 1, *BOX)
    assert batch.target.shape == (2, *BOX)
    assert batch.spacing.tolist() == [[1.5, 1.25]] * 2
    assert prepare(REG, [row(1), row(2)], None, [1, 2]).target.tolist() == pytest.approx([1.0, 2.0])


def test_augmentation_is_a_function_of_epoch_and_row() -> None:
    same = [prepare(SEG, [row(1)], 3, [7]).image for _ in range(2)]
    assert torch.equal(*same)
    assert not torch.equal(same[0], prepare(SEG, [row(1)], 4, [7]).image)
    assert not torch.equal(same[0], prepare(SEG, [row(1)], 3, [8]).image)
    plain = recipes.override(SEG, ["augment=false"])
    assert torch.equal(prepare(plain, [row(1)], 3, [7]).image, prepare(SEG, [row(1)], None, [7]).image)


def gradients(model: torch.nn.Module) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("recipe", [SEG, REG], ids=["seg", "reg"])
def test_the_gradient_is_that_of_the_global_batchs_mean(recipe: Recipe) -> None:
    torch.manual_seed(0)
    model = build(recipe.network.kind, 2, BOX, True)
    batch = prepare(recipe, [row(1), row(2)], None, [1, 2])
    row_losses(recipe, model, batch).mean().backward()
    wanted = gradients(model)
    loss = train_step(recipe, model, optimiser_of(recipe, model), batch)
    assert all(torch.equal(found, w) for found, w in zip(gradients(model), wanted, strict=True))
    assert np.isfinite(loss)


def test_a_loss_that_is_not_finite_changes_no_weight() -> None:
    model = build("reg", 2, BOX, True)
    before = [p.detach().clone() for p in model.parameters()]
    batch = prepare(REG, [row(1), row(2)], None, [1, 2])
    loss = train_step(REG, model, optimiser_of(REG, model),
                      Batch(batch.image, batch.spacing, torch.tensor([1.0, float("nan")])))
    assert not np.isfinite(loss)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
