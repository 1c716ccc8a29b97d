"""Both networks: size, independence of a batch's studies, the pixel-size path, gradients against a plain version."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lvray.nets.build import build
from lvray.nets.losses import cross_entropy
from lvray.nets.regressor import Regressor
from lvray.nets.segmenter import Segmenter

BOX = (5, 16, 24)
SPACING = torch.tensor([[1.8, 1.8], [1.3, 1.4], [2.0, 1.7]])


def small(kind: str, pixel_size: bool = True) -> Any:
    torch.manual_seed(0)
    return build(kind, 4, BOX, pixel_size)


def images() -> Tensor:
    return torch.randn(3, 1, *BOX, generator=torch.Generator().manual_seed(1))


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("width", [4, 32])
def test_segmenter_has_the_published_number_of_parameters(width: int) -> None:
    assert parameters(Segmenter(width, pixel_size=False)) == 1215 * width**2 + 52 * width + 3
    assert parameters(Segmenter(width)) == 1215 * width**2 + 62 * width + 11


def test_parameters_at_the_papers_size() -> None:
    assert parameters(Segmenter(32, pixel_size=False)) == 1_245_827
    with torch.device("meta"):
        assert parameters(Regressor(32, (13, 256, 256))) == 7_315_833


@pytest.mark.parametrize(("kind", "shape"), [("seg", (3, 3, *BOX)), ("reg", (3,))])
def test_a_study_is_answered_the_same_alone_and_in_a_batch(kind: str, shape: tuple[int, ...]) -> None:
    network, x = small(kind), images()
    x[1] *= 30  # a neighbour of other intensities, which any statistic over the batch would let through
    together = network(x, SPACING)
    alone = torch.cat([network(x[i : i + 1], SPACING[i : i + 1]) for i in range(3)])
    assert together.shape == shape
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["seg", "reg"])
@pytest.mark.parametrize("axis", [0, 1])
def test_pixel_size_reaches_the_answer(kind: str, axis: int) -> None:
    other = SPACING.clone()
    other[:, axis] += 0.2
    with_path, without = small(kind), small(kind, pixel_size=False)
    assert not torch.allclose(with_path(images(), SPACING), with_path(images(), other))
    assert torch.equal(without(images(), SPACING), without(images(), other))


@pytest.mark.parametrize("kind", ["seg", "reg"])
def test_every_parameter_learns(kind: str) -> None:
    network = small(kind)
    network(images(), SPACING).square().mean().backward()
    for name, p in network.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name


def test_segmenter_takes_any_number_of_slices() -> None:
    network = small("seg")
    assert network(torch.zeros(1, 1, 2, 8, 8), SPACING[:1]).shape == (1, 3, 2, 8, 8)
    assert network(torch.zeros(1, 1, 17, 8, 8), SPACING[:1]).shape == (1, 3, 17, 8, 8)


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="'seg' and 'reg'"):
        build("unet", 4, BOX, True)


def plain_segmenter(p: dict[str, Tensor], image: Tensor, spacing: Tensor) -> Tensor:
    """The segmenter once more, from the description alone: one concatenation after another, a real 1x1x1 convolution
    at full resolution, everything contiguous."""
    def conv(x: Tensor, name: str) -> Tensor:
        return F.mish(F.conv3d(x, p[f"{name}.weight"], p[f"{name}.bias"], padding=1))

    def block(x: Tensor, name: str) -> Tensor:
        seen = [x]
        for k in ("first", "second", "third"):
            seen.append(conv(torch.cat(seen, 1), f"{name}.{k}"))
        return seen[-1]

    def up(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 3).repeat_interleave(2, 4)

    skips = [conv(image, "encoder.stem")]
    for i in range(3):
        skips.append(block(F.max_pool3d(skips[-1], (1, 2, 2)), f"encoder.blocks.{i}"))
    v = (spacing - 1.83) / 0.1
    features = torch.cat([v[:, i : i + 1] * p[f"norm.pixel_size.{d}.weight"].T + p[f"norm.pixel_size.{d}.bias"]
                          for i, d in enumerate(("dy", "dx"))], 1)
    affine = (features @ p["norm.affine.weight"].T + p["norm.affine.bias"])[:, :, None, None, None]
    scale, shift = affine[:, : len(p["encoder.stem.bias"])], affine[:, len(p["encoder.stem.bias"]) :]
    x = F.instance_norm(skips[3]) * (1 + scale) + shift
    for i, skip in enumerate((x, skips[2], skips[1])):
        x = up(block(torch.cat((x, skip), 1), f"decoder.{i}"))
    head = torch.cat((p["coarse.weight"], p["fine.weight"]), 1)[:, :, None, None, None]
    return F.conv3d(torch.cat((x, skips[0]), 1), head, p["coarse.bias"])


def test_gradient_equals_a_plain_implementations() -> None:
    network, x = small("seg"), images()
    mask = torch.randint(0, 3, (3, *BOX), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    cross_entropy(network(x, SPACING), mask).mean().backward()

    p = {name: q.detach().double().contiguous().requires_grad_() for name, q in network.named_parameters()}
    logits = plain_segmenter(p, x.double(), SPACING.double())
    torch.testing.assert_close(network(x, SPACING).double(), logits, rtol=1e-4, atol=1e-5)
    F.cross_entropy(logits, mask.long()).backward()
    for name, q in network.named_parameters():
        expected = p[name].grad
        assert q.grad is not None
        assert expected is not None
        assert (q.grad.double() - expected).norm() < 1e-4 * expected.norm() + 1e-8, name


def test_regressor_starts_calmly_however_large_its_box() -> None:
    torch.manual_seed(0)
    network = Regressor(4, (13, 128, 128))
    x = torch.randn(2, 1, 13, 128, 128)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    before = network(x, SPACING[:2])
    before.sum().backward()
    optimiser.step()
    assert before.abs().max() < 3
    assert (network(x, SPACING[:2]) - before).abs().max() < 3
