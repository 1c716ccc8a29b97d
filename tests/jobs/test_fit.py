from __future__ import annotations

from typing import Any

import pytest
import ray
from ray.train import ScalingConfig

from lvray.errors import UseError
from lvray.jobs import fit
from tests.jobs.conftest import small


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What the cluster has, on one node."""
    there: dict[str, float] = {"CPU": 8}
    monkeypatch.setattr(ray, "cluster_resources", lambda: there)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 8}}])
    return there


def test_each_worker_has_a_gpu_where_there_are_any(there: dict[str, float]) -> None:
    assert not fit._scaling(small("seg"), (2, 2), 1).use_gpu
    there["GPU"] = 2
    assert fit._scaling(small("seg"), (2, 4), 1).use_gpu


def test_more_workers_than_gpus_are_not_trained_on_cpus_unasked(there: dict[str, float]) -> None:
    there["GPU"] = 1
    with pytest.raises(UseError, match="2 workers on 1 GPUs: --workers 1, or hide the GPUs"):
        fit._scaling(small("seg"), (2, 2), 1)


def test_no_worker_asks_for_more_than_a_node_has(there: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4}}] * 2)
    assert fit._scaling(small("seg", "threads=6"), (1, 1), 1).resources_per_worker == {"CPU": 4}


@pytest.mark.parametrize(("nodes", "threads", "workers", "share"), [
    ([8], 1, 2, 1.0), ([2], 1, 2, 0.5), ([3, 3], 2, 3, 1.5), ([4, 4], 6, 1, 4.0), ([1, 1, 1], 4, 3, 0.6666),
    ([16, 2], 8, 2, 8.0), ([1], 1, 1, 0.5)])
def test_so_many_workers_find_a_place(nodes: list[float], threads: int, workers: int, share: float) -> None:
    found = fit._share(nodes, threads, workers)
    assert found == pytest.approx(share, abs=1e-4)
    assert sum(int(cpus / found + 1e-9) for cpus in nodes) >= workers


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
