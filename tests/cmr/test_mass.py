from __future__ import annotations

import numpy as np
import pytest

from lvray.cmr.mass import cavity_ml, grams, millilitres, wall_grams


def test_grams_by_hand() -> None:
    mask = np.zeros((3, 10, 10), np.uint8)
    mask[:2, :5] = 2  # 100 voxels
    mask[2, :3] = 1  # 30
    assert grams(mask, (10.0, 1.5, 2.0)) == pytest.approx(100 * 30 / 1000 * 1.05)
    assert cavity_ml(mask, (10.0, 1.5, 2.0)) == pytest.approx(30 * 30 / 1000)


def test_shares_of_voxels_count() -> None:
    assert millilitres(0.5, (8.0, 1.0, 2.0)) == pytest.approx(0.008)
    assert wall_grams(0.5, (8.0, 1.0, 2.0)) == pytest.approx(0.0084)
