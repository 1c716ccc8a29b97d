"""What a cluster has room for, and what outcomes become, on disk and in the tables. No Ray is started."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray

from lvray.errors import UseError
from lvray.jobs import outcomes
from lvray.jobs.outcomes import Made, Outcome
from lvray.jobs.predict import decided
from lvray.settings import Predict
from lvray.shards.schema import Reject

ROW: dict[str, Any] = {"study": "a" * 32, "participant": "b" * 32, "visit": None, "mass_g": 0.1 + 0.2,
       "centred_g": None, "interval_low_g": None, "interval_high_g": None, "lvmi_g_m2": None, "edv_ml": 1 / 3,
       "ed_phase": 1, "slices": 2,
       "spacing_mm": [10.0, 1.8, 1.8], "cavity_mm2": [0.0, 1 / 7], "myocardium_mm2": None, "agreement": None,
       "quality": ["few_slices"],
       "method": "ML4Hseg", "network": "{}", "weights_sha256": "c" * 64, "versions": "{}"}
REJECT = Reject("d" * 32, 2, "no_heart", "the network found no myocardium", None)
MADE: Made = {"weights": "c" * 64, "precision": "fp32", "batch": 1}


GONE = {"Alive": False, "Resources": {"CPU": 8, "GPU": 8}}


def cluster_of(monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, float]) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [GONE, *({"Alive": True, "Resources": node} for node in nodes)])


@pytest.mark.parametrize(("has", "asked", "device", "workers", "batch"), [
    ({"CPU": 2}, {}, "cpu", 2, 1), ({"CPU": 16}, {"threads": 4}, "cpu", 4, 1), ({"CPU": 8, "GPU": 2}, {}, "cuda", 2, 8),
    ({"CPU": 8, "GPU": 2}, {"device": "cpu", "workers": 3, "batch": 4}, "cpu", 3, 4)])
def test_what_is_decided(monkeypatch: pytest.MonkeyPatch, has: dict[str, float], asked: dict[str, object], device: str,
                         workers: int, batch: int) -> None:
    cluster_of(monkeypatch, has)
    found = decided(Predict.model_validate(asked))
    assert (found.device, found.workers, found.batch) == (device, workers, batch)


@pytest.mark.parametrize(("has", "asked"), [
    ({"CPU": 2}, {"workers": 3}), ({"CPU": 1}, {}), ({"CPU": 2}, {"threads": 4}), ({"CPU": 2}, {"device": "cuda"})])
def test_no_room(monkeypatch: pytest.MonkeyPatch, has: dict[str, float], asked: dict[str, object]) -> None:
    """Ray would wait for ever."""
    cluster_of(monkeypatch, has)
    with pytest.raises(UseError, match="has room for"):
        decided(Predict.model_validate(asked))


@pytest.mark.parametrize(("cpus", "threads", "workers"), [
    ((0, 1, 1, 1), 1, 2), ((0, 1, 1), 1, 1), ((2, 2), 1, 4), ((0, 4, 1), 2, 2), ((1, 1, 4), 4, 1)])
def test_a_node_keeps_a_whole_cpu_to_read_on(monkeypatch: pytest.MonkeyPatch, cpus: tuple[float, ...], threads: int,
                                             workers: int) -> None:
    """One half of a CPU and another, on two nodes, read nothing."""
    cluster_of(monkeypatch, *({"CPU": number} for number in cpus))
    assert decided(Predict(threads=threads)).workers == workers
    assert leaves_a_cpu(cpus, threads / 2, workers)
    for more in range(workers + 1, 12):
        if not leaves_a_cpu(cpus, threads / 2, more):
            with pytest.raises(UseError, match="has room for"):
                decided(Predict(threads=threads, workers=more))


def leaves_a_cpu(cpus: tuple[float, ...], each: float, workers: int) -> bool:
    """Whether every way to place the workers leaves a node a whole CPU."""
    ways = [counts for counts in product(*(range(int(cpu / each) + 1) for cpu in cpus)) if sum(counts) == workers]
    return bool(ways) and all(any(cpu - count * each >= 1 for cpu, count in zip(cpus, counts, strict=True))
                              for counts in ways)


def test_parts_keep_every_digit(tmp_path: Path) -> None:
    work = outcomes.work_of(str(tmp_path), MADE)
    assert outcomes.recall(work) == {}
    both = [Outcome("1", ROW), Outcome("2", REJECT)]
    outcomes.stage(work, both)
    outcomes.stage(work, both[:1])
    assert outcomes.recall(work) == {one.study: one for one in both}
    assert outcomes.work_of(str(tmp_path), {**MADE, "precision": "bf16"}) != work


def test_tables_come_back_and_belong_to_what_made_them(tmp_path: Path) -> None:
    out = str(tmp_path)
    assert outcomes.standing(out, MADE) == {}
    outcomes.publish(out, [ROW, REJECT], MADE)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert outcomes.standing(out, MADE) == {ROW["study"]: ROW, REJECT.study: REJECT}
    outcomes.publish(out, [ROW, REJECT], MADE)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    with pytest.raises(UseError, match="another precision"):
        outcomes.standing(out, {**MADE, "precision": "bf16"})
    pq.write_table(pq.read_table(tmp_path / "estimates.parquet").replace_schema_metadata(None),
                   tmp_path / "estimates.parquet")
    with pytest.raises(UseError, match=r"another estimates\.parquet"):
        outcomes.standing(out, MADE)
