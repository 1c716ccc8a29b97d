from __future__ import annotations

import pytest

from lvray.evidence import indices


def test_bsa_by_hand() -> None:
    assert indices.bsa(180, 80) == pytest.approx(1.996, abs=0.001)
    assert indices.lvmi(100, 180, 80) == pytest.approx(100 / 1.996, abs=0.03)


@pytest.mark.parametrize(("height", "weight"), [
    (1.80, 80), (1800, 80), (180, 8), (180, 80_000), (None, 80), (180, None), (float("nan"), 80),
])
def test_another_unit_is_unknown(height: float | None, weight: float | None) -> None:
    assert indices.bsa(height, weight) is None
    assert indices.lvmi(100, height, weight) is None


@pytest.mark.parametrize(("value", "sex", "found"), [
    (72.0, "male", False), (72.1, "male", True), (55.0, "female", False), (55.1, "female", True),
    (60.0, None, None), (None, "male", None),
])
def test_lvh_cut_offs(value: float | None, sex: str | None, found: bool | None) -> None:
    assert indices.lvh(value, sex) is found


def test_lvh_knows_two_words_for_sex() -> None:
    with pytest.raises(ValueError, match="male, female"):
        indices.lvh(60.0, "M")
