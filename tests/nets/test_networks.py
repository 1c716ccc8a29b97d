"""Both networks: size, independence of a batch's studies, the pixel-size path, precisions and memory formats."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lvray.nets import layers
from lvray.nets.build import build
from lvray.nets.layers import pool, unpool
from lvray.nets.regressor import Regressor
from lvray.nets.segmenter import Segmenter

BOX = (5, 16, 24)
SPACING = torch.tensor([[10.0, 1.8, 1.8], [8.0, 1.3, 1.4], [9.5, 2.0, 1.7]])


def small(kind: str, pixel_size: bool = True, pitch: bool = False) -> Any:
    torch.manual_seed(0)
    return build(kind, 4, BOX, pixel_size, pitch)


def images() -> Tensor:
    return torch.randn(3, 1, *BOX, generator=torch.Generator().manual_seed(1))


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("width", [4, 32])
def test_segmenter_has_the_published_number_of_parameters(width: int) -> None:
    assert parameters(Segmenter(width, pixel_size=False)) == 1215 * width**2 + 52 * width + 3
    assert parameters(Segmenter(width)) == 1215 * width**2 + 62 * width + 11
    assert parameters(Segmenter(width, pitch=True)) == 1215 * width**2 + 66 * width + 15


def test_parameters_at_the_papers_size() -> None:
    assert parameters(Segmenter(32, pixel_size=False)) == 1_245_827
    with torch.device("meta"):
        assert parameters(Regressor(32, (13, 256, 256))) == 7_315_833
        assert parameters(Regressor(32, (13, 256, 256), pitch=True)) == 7_315_833 + 36


@pytest.mark.parametrize(("kind", "shape"), [("seg", (3, 3, *BOX)), ("reg", (3,))])
def test_a_study_is_answered_the_same_alone_and_in_a_batch(kind: str, shape: tuple[int, ...]) -> None:
    network, x = small(kind), images()
    x[1] *= 30  # a neighbour of other intensities, which any statistic over the batch would let through
    together = network(x, SPACING)
    alone = torch.cat([network(x[i : i + 1], SPACING[i : i + 1]) for i in range(3)])
    assert together.shape == shape
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["seg", "reg"])
@pytest.mark.parametrize(("pixel_size", "pitch", "seen"), [
    (False, False, ""), (True, False, "dy dx"), (True, True, "dz dy dx")])
def test_which_spacings_reach_the_answer(kind: str, pixel_size: bool, pitch: bool, seen: str) -> None:
    network, x = small(kind, pixel_size, pitch), images()
    for axis, name in enumerate(("dz", "dy", "dx")):
        other = SPACING.clone()
        other[:, axis] += 0.2
        assert torch.equal(network(x, SPACING), network(x, other)) == (name not in seen.split())


@pytest.mark.parametrize("kind", ["seg", "reg"])
def test_every_parameter_learns(kind: str) -> None:
    network = small(kind, pitch=True)
    network(images(), SPACING).square().mean().backward()
    for name, p in network.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", ["seg", "reg"])
def test_an_image_of_bf16_is_answered_nearly_the_same(kind: str) -> None:
    network = small(kind, pitch=True)
    exact, rounded = network(images(), SPACING), network(images().bfloat16(), SPACING)
    assert (rounded - exact).norm() < 0.02 * exact.norm()
    assert all(p.dtype == torch.float32 for p in network.parameters())


def test_segmenter_takes_any_number_of_slices() -> None:
    network = small("seg")
    assert network(torch.zeros(1, 1, 2, 8, 8), SPACING[:1]).shape == (1, 3, 2, 8, 8)
    assert network(torch.zeros(1, 1, 17, 8, 8), SPACING[:1]).shape == (1, 3, 17, 8, 8)


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="'seg' and 'reg'"):
        build("unet", 4, BOX, True)


@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last_3d])
def test_pool_and_unpool_are_torchs_and_keep_the_memory_format(format: torch.memory_format) -> None:
    x = torch.randn(2, 3, 5, 8, 12).contiguous(memory_format=format)
    pooled, unpooled = F.max_pool3d(x, (1, 2, 2)), F.interpolate(x, scale_factor=(1, 2, 2))
    for ours, expected in ((pool(x), pooled), (unpool(x), unpooled)):
        assert torch.equal(ours, expected)
        assert ours.is_contiguous(memory_format=format)


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


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_study_alone_is_convolved_like_one_of_several(precision: torch.dtype, onednn: bool,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, and as training does it, which keeps gradients, to rounding; also where oneDNN is not to be had."""
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", onednn)
    torch.manual_seed(0)
    layer = layers.Convolution(3, 5)
    maps = torch.randn(2, 3, 4, 16, 24).to(precision)
    with torch.inference_mode():
        both, alone = layer(maps), layer(maps[:1])
    assert torch.equal(alone[0], both[0])
    near = 1e-2 if precision is torch.bfloat16 else 1e-5
    assert torch.allclose(layer(maps[:1])[0].float(), both[0].float(), atol=near)
