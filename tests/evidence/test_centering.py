from __future__ import annotations

import json

import pytest

from lvray.errors import UseError
from lvray.evidence.centering import fit


def test_each_sex_loses_its_own_mean_difference() -> None:
    fitted = fit([120, 130, 90, 94], [100, 106, 80, 80], ["male", "male", "female", "female"])
    assert fitted.by_sex_g == {"male": 22.0, "female": 12.0}
    assert (fitted.overall_g, fitted.n, fitted.n_by_sex) == (17.0, 4, {"female": 2, "male": 2})
    assert fitted.apply(100, "male") == 78
    assert fitted.apply(100, "female") == 88


def test_an_unknown_or_untrained_sex_loses_the_overall_difference() -> None:
    fitted = fit([120, 90, 71], [100, 80, 80], ["male", "male", None])
    assert fitted.apply(100, None) == 100 - 7
    assert fitted.apply(100, "female") == 100 - 7
    assert json.loads(json.dumps(fitted.to_dict()))["n_by_sex"] == {"male": 2}


def test_nobody_to_fit_on_is_a_users_error() -> None:
    with pytest.raises(UseError, match="no training person"):
        fit([], [], [])


def test_bad_columns_are_a_programmers_error() -> None:
    with pytest.raises(ValueError, match="one length"):
        fit([1.0], [1.0, 2.0], [None])
    with pytest.raises(ValueError, match="finite"):
        fit([float("nan")], [1.0], [None])
