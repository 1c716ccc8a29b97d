from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lvray.nets.losses import cross_entropy, log_cosh


def test_log_cosh_is_log_of_cosh() -> None:
    d = np.linspace(-20, 20, 401)
    loss = log_cosh(torch.tensor(d, dtype=torch.float32), torch.zeros(401))
    np.testing.assert_allclose(loss.numpy(), np.log(np.cosh(d)), rtol=1e-5, atol=2e-7)


@pytest.mark.parametrize("d", [1e4, -1e4, 3e38, -3e38, 0.0, 1e-6])
def test_log_cosh_at_extremes(d: float) -> None:
    prediction = torch.tensor([d], requires_grad=True)
    loss = log_cosh(prediction, torch.zeros(1))
    loss.sum().backward()
    assert loss.item() == pytest.approx(max(abs(d) - math.log(2), 0), rel=1e-6, abs=1e-7)
    assert prediction.grad is not None
    assert prediction.grad.item() == pytest.approx(math.tanh(d), abs=1e-6)


def test_cross_entropy_is_the_mean_over_a_rows_pixels() -> None:
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 3, 2, 4, 5), torch.randint(0, 3, (2, 2, 4, 5), dtype=torch.uint8)
    rows = cross_entropy(logits, mask)
    assert rows.shape == (2,)
    expected = [F.cross_entropy(logits[i : i + 1], mask[i : i + 1].long()) for i in range(2)]
    torch.testing.assert_close(rows, torch.stack(expected))


def test_cross_entropy_at_extremes() -> None:
    logits = torch.tensor([1e4, -1e4, 0.0]).view(1, 3, 1, 1, 1).requires_grad_()
    wrong = cross_entropy(logits, torch.full((1, 1, 1, 1), 1, dtype=torch.uint8))
    wrong.sum().backward()
    assert wrong.item() == 2e4
    assert logits.grad is not None
    assert logits.grad.flatten().tolist() == [1, -1, 0]
    assert cross_entropy(logits, torch.zeros(1, 1, 1, 1, dtype=torch.uint8)).item() == 0
