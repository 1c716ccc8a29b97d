"""The arithmetic of the plan at its limits, where the answer is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from scripts.bench import plan, scale
from scripts.bench.costs import Measured, Trained
from scripts.bench.scale import HOUR, Costs, Job, Machines

NOTHING = Costs(step_s=0.0, row_s=0.1, validation_row_s=0.0, step_cpu_s=0.0, row_cpu_s=0.0, loader_cpu_s=0.0,
                row_bytes=0.0, gradient_bytes=0.0, held_s=0.0, restart_s=0.0)
"""A row takes the GPU a tenth of a second; all else is free."""
BOUNDLESS = Machines(workers=1, cores=math.inf, network=math.inf, latency_s=0.0, store_node=math.inf, store=math.inf)
JOB = Job(rows=6400, validation_rows=0, epochs=10, save_s=60.0)


def test_without_bounds_the_speedup_is_linear() -> None:
    alone = scale.seconds(NOTHING, BOUNDLESS, JOB, 1, 64)
    assert alone == pytest.approx(6400 * 10 * 0.1)
    for workers in (1, 2, 4, 8, 16, 32, 64):
        assert scale.seconds(NOTHING, BOUNDLESS, JOB, workers, 64) == pytest.approx(alone / workers)
    assert scale.step(NOTHING, BOUNDLESS, 64, 64).limit == "compute"


def test_the_busiest_worker_tells() -> None:
    assert scale.step(NOTHING, BOUNDLESS, 3, 4).seconds == pytest.approx(0.2)


def test_the_loader_is_the_limit_where_cores_are_few() -> None:
    slow, two = replace(NOTHING, loader_cpu_s=0.5), replace(BOUNDLESS, workers=2, cores=2.0)
    step = scale.step(slow, two, 2, 8)
    assert step.limit == "loader"
    assert step.seconds == pytest.approx(8 * 0.5 / 2)
    assert scale.step(slow, replace(two, cores=20.0), 2, 8).limit == "compute"
    assert scale.step(slow, two, 4, 16).seconds == pytest.approx(step.seconds)  # each node brings its cores


def test_the_network_and_the_store_are_limits() -> None:
    heavy = replace(NOTHING, row_bytes=1e6)
    assert scale.step(heavy, replace(BOUNDLESS, network=5e6), 4, 16).seconds == pytest.approx(4 * 1e6 / 5e6)
    crowded = replace(BOUNDLESS, store=20e6)
    found = {workers: scale.step(heavy, crowded, workers, 4 * workers) for workers in (1, 2, 4)}
    assert [step.limit for step in found.values()] == ["compute", "compute", "store"]
    assert found[4].seconds == pytest.approx(16e6 / 20e6)  # 20 rows a second for all, however many
    assert scale.step(heavy, replace(BOUNDLESS, store_node=5e6), 4, 16).limit == "store"


def test_the_all_reduce_follows_the_compute() -> None:
    summed = replace(NOTHING, gradient_bytes=4e6)
    step = scale.step(summed, replace(BOUNDLESS, network=1e6, latency_s=0.25), 2, 2)
    assert step.all_reduce == pytest.approx(4.0 + 0.5)
    assert step.limit == "all-reduce"
    assert step.seconds == pytest.approx(4.6)
    assert scale.step(summed, replace(BOUNDLESS, network=1e6), 1, 2).all_reduce == 0


def test_checkpoints_and_validation_take_their_time() -> None:
    of = replace(NOTHING, held_s=0.6, validation_row_s=1.0)
    took = scale.seconds(of, BOUNDLESS, replace(JOB, validation_rows=5), 2, 64)
    assert took == pytest.approx(10 * (320 + 3 + 0.6) * 1.01)


def disturbed(hourly: float, seed: int = 0, workers: int = 4, pause: float = 10.0, back: float = 0.0,
              save: float = 60.0) -> scale.Outcome:
    def takes(left: int) -> float:
        return 40 * HOUR / left if left else math.inf

    return scale.reclaimed(takes, workers, hourly, replace(NOTHING, restart_s=pause), save, back,
                           np.random.default_rng(seed))


def test_without_reclaims_nothing_is_lost() -> None:
    assert disturbed(0.0) == scale.Outcome(seconds=10 * HOUR, worker_seconds=40 * HOUR, lost=0.0, reclaims=0)


def test_rare_reclaims_cost_half_an_interval_and_a_pause_each() -> None:
    ends = [disturbed(0.5, seed) for seed in range(200)]
    reclaims = np.mean([end.reclaims for end in ends])
    assert reclaims == pytest.approx(0.5 * 4 * 10, rel=0.1)
    assert np.mean([end.lost for end in ends]) == pytest.approx(30 * reclaims, rel=0.1)
    assert np.mean([end.seconds for end in ends]) - 10 * HOUR == pytest.approx((30 + 10) * reclaims, rel=0.1)
    assert np.mean([disturbed(0.5, seed, save=1e-9).lost for seed in range(20)]) == pytest.approx(0, abs=1e-6)


def test_those_left_train_on_until_another_comes() -> None:
    ends = [disturbed(0.5, seed, pause=0.0, back=HOUR, save=1e-9) for seed in range(200)]
    assert np.mean([end.worker_seconds for end in ends]) == pytest.approx(40 * HOUR, rel=1e-3)  # as linear as takes()
    assert np.mean([end.seconds for end in ends]) == pytest.approx(10 * HOUR * 1.5, rel=0.05)  # a third is away


def test_one_that_is_alone_waits() -> None:
    ends = [disturbed(0.1, seed, workers=1, pause=0.0, back=HOUR, save=1e-9) for seed in range(400)]
    assert np.mean([end.seconds for end in ends]) == pytest.approx(40 * HOUR * 1.1, rel=0.03)
    assert np.mean([end.worker_seconds for end in ends]) == pytest.approx(40 * HOUR)


def test_the_same_seed_tells_the_same() -> None:
    of = plan.costs_on(plan.GPUS["L4"], 121e12, Measured(7 * 10**11, 0.005, 4e5, 5_000_000, 15_000_000, 0.01, 0.2), 7.0)
    lines = [plan.on_spot(of, plan.GPUS["L4"].machines, plan.job("paper_seg"), 4, 0.5, 5) for _ in range(2)]
    assert lines[0] == lines[1]
    assert lines[0]["over_undisturbed"] > 1


def test_two_runs_of_one_worker_give_the_costs() -> None:
    whole, half = (Trained(1, batch, 0.02 + 0.1 * batch, 0.0, 0.05 + 0.15 * batch, 1.0, 9.0) for batch in (4, 2))
    of = plan.fitted(whole, half)
    assert [of.step_s, of.row_s, of.step_cpu_s, of.row_cpu_s] == pytest.approx([0.02, 0.1, 0.05, 0.15])


def test_batches_of_the_recipe_then_four_rows_a_gpu() -> None:
    assert list(plan.splits())[:6] == [(1, 4), (2, 4), (4, 4), (2, 8), (4, 16), (8, 32)]
    assert list(plan.splits())[-1] == (64, 256)
