from __future__ import annotations

from typing import Any

import pytest
import ray
from ray.train import ScalingConfig

from lvray.jobs import fit


def test_a_silent_run_says_once_that_its_nodes_have_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    there: dict[str, float] = {"CPU": 8, "GPU": 2}
    heard: list[Any] = []
    monkeypatch.setattr(ray, "cluster_resources", lambda: there)
    monkeypatch.setattr(fit, "ROOM_SECONDS", 0.0)
    room = fit._Room(ScalingConfig(num_workers=2, use_gpu=True, resources_per_worker={"CPU": 3.0}), 2, heard.extend)
    room.look()
    assert heard == []
    there |= {"CPU": 4, "GPU": 1}
    room.look()
    room.look()
    lost = {"notice": "waits for nodes: 2 workers need more than the cluster has (4 of 6 CPU, 1 of 2 GPU)"}
    assert heard == [lost]
    there |= {"CPU": 8, "GPU": 2}
    room.look()
    del there["GPU"]
    room.look()
    assert heard == [lost, {"notice": "waits for nodes: 2 workers need more than the cluster has (0 of 2 GPU)"}]
