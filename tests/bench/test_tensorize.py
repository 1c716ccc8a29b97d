"""The bench of tensorizing: its arithmetic, its ways, and the whole of it on a cohort of tiny phantoms."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
import ray

from lvray.cmr.phantom.people import PhantomOptions
from lvray.shards import storage
from scripts.bench import cohort, growth, watch, ways
from scripts.bench.cohort import Cohort
from scripts.bench.growth import Run
from scripts.bench.rounds import Cost, ratio, spread, take_turns
from scripts.bench.ways import Study, Way

TINY = PhantomOptions(phases=4, slices=7, rows=80, columns=72, bias=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return cohort.make(tmp_path_factory.mktemp("cohort"), 2, TINY, processes=1)


@pytest.fixture(scope="module")
def case(made: Cohort) -> Study:
    return ways.study(str(made.zips[0]), 1)


def run(studies: int, seconds: float) -> Run:
    return Run(studies, studies, 0, seconds, 0.0, 0)


def test_a_cohort_is_made_once(made: Cohort) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.zips}
    told: list[int] = []
    again = cohort.make(made.folder.parent, 3, TINY, processes=1, progress=told.append)
    assert told == [3]
    assert {path: path.stat().st_mtime_ns for path in again.zips[:2]} == before
    tables = {made.folder / name for name in ("labels.tsv", "truth.tsv")}
    assert {*made.folder.iterdir()} == {*again.zips} | tables


def test_growth_is_held_against_a_straight_line() -> None:
    start, each, off = growth.straight([run(n, 3 + 0.5 * n) for n in (25, 50, 100, 200)])
    assert (start, each, off) == pytest.approx((3, 0.5, 0), abs=1e-6)
    assert growth.straight([run(25, 10), run(50, 20), run(100, 40), run(200, 160)])[2] > 0.2
    assert growth.sizes(200) == [25, 50, 100, 200]
    assert growth.sizes(3) == [1, 3]


def test_ratios_are_taken_round_by_round() -> None:
    costs = {"slow": [Cost(8, 9), Cost(5, 6), Cost(9, 9)], "fast": [Cost(2, 3), Cost(1, 3), Cost(3, 9)]}
    assert ratio(costs, "slow", "fast") == spread([4, 5, 3])
    assert ratio(costs, "slow", "fast", "wall").median == 2
    assert (spread([4, 5, 3]).low, spread([4, 5, 3]).high) == (3, 5)


def test_every_way_takes_every_study_each_round_and_each_goes_first(case: Study) -> None:
    order: list[str] = []

    def way(name: str) -> Way:
        return lambda case: order.append(name)

    sent = iter(range(100))
    costs = take_turns([case, case], {name: way(name) for name in "abc"}, 3, lambda: next(sent))
    assert "".join(order) == "abc" + "abcabc" + "bcabca" + "cabcab"
    assert {name: [cost.sent for cost in taken] for name, taken in costs.items()} == {key: [2, 2, 2] for key in "abc"}


def test_the_floor_knows_the_frames_that_a_row_is_made_of(case: Study, made: Cohort) -> None:
    assert len(case.images) == TINY.slices
    drawn = made.participants[0].person.inlinevf != "absent"
    assert bool(case.outlines) == drawn
    ways.whole(case)
    ways.heads(case)


def test_the_usual_way_keeps_every_frame(case: Study, tmp_path: Path) -> None:
    ways.usual(case, tmp_path / "1.hd5")
    with h5py.File(tmp_path / "1.hd5") as found:
        frames = sum(group["images"].shape[0] for group in found.values())
        assert {group["images"].compression for group in found.values()} == {"gzip"}
    assert frames >= 2 * TINY.phases * TINY.slices


def test_lvray_sets_a_row_aside(case: Study, tmp_path: Path) -> None:
    ways.lvray(case, str(tmp_path / "parts"))
    assert [e.name for e in storage.list_entries(str(tmp_path / "parts"), "the parts")] == ["1.parquet"]


def test_a_workers_peak_is_seen(ray_cluster: None) -> None:
    @ray.remote(num_cpus=1)
    def large() -> int:
        return len(bytearray(200 << 20))

    with watch.workers() as peaks:
        ray.get(large.remote())
    assert max(peaks.values()) > 200 << 20


@pytest.mark.slow
def test_the_whole_bench_on_tiny_phantoms(tmp_path: Path) -> None:
    program = f"""
import json
from pathlib import Path
from lvray.cmr.phantom.people import PhantomOptions
from scripts.bench import tensorize
print(json.dumps(tensorize.bench(Path({str(tmp_path)!r}), 8, 1, {TINY})))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert [run["studies"] for run in result["growth"]["runs"]] == [1, 2, 4, 8]
    assert all(run["sent"] > 0 and run["peak"] > 0 for run in result["growth"]["runs"])
    assert result["mass"]["masks"] == result["mass"]["outlined"] > 0
    assert result["s3"]["lvray"]["mb"] == pytest.approx(result["zip_mb"], rel=0.5)
