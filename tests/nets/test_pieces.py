from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from lvray.nets.pieces import keep_largest


def test_a_stray_piece_goes_and_a_stack_with_a_gap_stays() -> None:
    mask = torch.zeros(5, 20, 20, dtype=torch.uint8)
    mask[[0, 1, 3, 4], 5:12, 5:12] = 2
    mask[[0, 1, 3, 4], 7:10, 7:10] = 1
    stray = mask.clone()
    stray[2, 16:19, 15:19] = 2
    assert torch.equal(keep_largest(stray), mask)


def test_nothing_to_keep() -> None:
    assert not keep_largest(torch.zeros(2, 8, 8, dtype=torch.uint8)).any()


def test_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = (rng.random((2, 24, 24)) < 0.2).astype(np.uint8)
        label, n = ndimage.label(mask.any(0), np.ones((3, 3)))
        sizes = [mask[:, label == k].sum() for k in range(1, n + 1)]
        kept = keep_largest(torch.from_numpy(mask)).numpy()
        assert kept.sum() == max(sizes)
        assert len(np.unique(label[kept.any(0)])) == 1
