"""What the search hands to Ray Tune."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.tune.execution import class_cache

from lvray.jobs import space, tune
from lvray.jobs.tpe import Tpe
from lvray.jobs.trial import Plan
from lvray.recipes import smoke_seg


def test_the_stores_keys_are_in_no_runtime_environment(ray_cluster: None, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune copies them there, and what is there stands on the dashboard."""
    monkeypatch.setattr(class_cache, "ENV_VARS_TO_PROPAGATE", set(class_cache.ENV_VARS_TO_PROPAGATE))
    for name in tune.SECRETS:
        monkeypatch.setenv(name, "a secret")
    plan = Plan(smoke_seg(), "data", str(tmp_path), (1, 1), 1, ())
    search = Tpe(space.DEFAULT, 1, 0, {"optimiser.gamma": 0.95}, {})
    assert "a secret" in propagated()
    tune._tuner(plan, search, tune._Watch(str(tmp_path), lambda trials: None), 1)
    assert "a secret" not in propagated()


def propagated() -> str:
    """Options of the actor that Tune makes of a trial."""
    return str(vars(class_cache._ActorClassCache().get(tune._Trial))["_default_options"])
