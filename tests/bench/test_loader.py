"""The bench of loaders: the rows, the clock, the turns, the verdict, and the sides that need no installing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lvray.shards import cells
from scripts.bench import loader
from scripts.bench.rivals import hd5, lvray, parquet, rows, side, sides, tree
from scripts.bench.rivals.side import Place
from scripts.bench.rivals.sides import Failed, Side

SMALL = (2, 12, 10)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in (rows, side):
        monkeypatch.setattr(module, "SHAPE", SMALL)
    rows._heart.cache_clear()
    yield
    rows._heart.cache_clear()


def test_rows_are_told_apart_and_compress_as_hearts_do() -> None:
    image, mask = rows.volume(70)
    assert (image.dtype.name, mask.dtype.name) == ("int16", "uint8")
    assert image.shape == mask.shape == rows.SHAPE
    assert set(np.unique(mask)) == {0, 1, 2}
    assert rows.numbers(np.stack([image, rows.volume(3)[0]])) == [70, 3]
    packed = sum(len(cells.encode(array)) for array in (image, mask))
    assert 3.5 < (image.nbytes + mask.nbytes) / packed < 4


def delivering(numbers: list[int]) -> Any:
    """A side that delivers these rows."""
    def batches() -> Iterator[tuple[Any, Any]]:
        for first in range(0, len(numbers), rows.BATCH):
            image = np.zeros((rows.BATCH, *SMALL), np.int16)
            image[:, 0, 0, 0] = numbers[first:first + rows.BATCH]
            yield image, image

    return SimpleNamespace(session=lambda place: nullcontext(batches))


@pytest.mark.parametrize(("numbers", "says"), [
    ([*range(1, 16), 1], "15 different ones, of 16"),
    ([*range(12)], "12 different ones, of 24"),
    ([*range(16)], "not shuffled"),
])
def test_a_side_that_cheats_is_found_out(small: None, numbers: list[int], says: str, tmp_path: Path) -> None:
    of = 24 if len(numbers) == 12 else 16
    with pytest.raises(RuntimeError, match=says):
        side.read(delivering(numbers), Place("", of, tmp_path), 0, watched=False)


def test_the_step_is_slept_and_the_clock_runs_from_the_first_batch(small: None, tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    now, busy = [100.0], iter([7.0, 7.3])
    monkeypatch.setattr(side, "perf_counter", lambda: now[0])
    monkeypatch.setattr(side, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(side, "cpu_seconds", lambda: next(busy))
    found = side.read(delivering([*range(16)][::-1]), Place("", 16, tmp_path), 0.02, watched=False)
    assert (found.rows, found.first, found.peak) == (16, 0, 0)
    assert found.rate == pytest.approx(12 / 0.08)
    assert found.cpu_ms == pytest.approx(300 / 12)


def test_a_process_tree_is_measured_with_those_that_have_ended() -> None:
    before, held = tree.cpu_seconds(), tree.proportional_bytes()
    work = "n = bytes(1) * (300 << 20)\nfor _ in range(3_000_000): pass\nprint(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdin
        child.stdout.readline()
        assert tree.proportional_bytes() > held + (250 << 20)
        living = tree.cpu_seconds()
        child.stdin.write(b"\n")
    assert before < living <= tree.cpu_seconds()


@pytest.mark.parametrize(("module", "written_by", "options"), [
    (lvray, lvray, {"reader": "threads"}),
    (parquet, lvray, {"workers": None}),
    (parquet, lvray, {"workers": 0}),
    (hd5, hd5, {"workers": 0}),
])
def test_sides_deliver_every_row_shuffled_from_s3(small: None, s3: str, tmp_path: Path, module: Any, written_by: Any,
                                                  options: dict[str, Any]) -> None:
    place = Place(s3, 48, tmp_path, options)
    written_by.write(place)
    found = side.read(module, place, 0, watched=True)
    assert found.rows == 48
    assert found.rate > 0
    assert found.peak > 0


def test_what_does_not_run_says_why_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Side("absent", "absent", "absent")
    with pytest.raises(Failed, match=r"^ModuleNotFoundError: No module named 'scripts.bench.rivals.absent'$"):
        sides.read(absent, sys.executable, "s3://x/y", 16, tmp_path, step=0)
    monkeypatch.setattr(sides, "SECONDS", 0.01)
    with pytest.raises(Failed, match="not done after"):
        sides.read(absent, sys.executable, "s3://x/y", 16, tmp_path, step=0)


def test_every_side_in_every_case_each_round_and_each_goes_first(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, float, bool]] = []

    def answer(side: Side, python: str, uri: str, rows: int, cache: Path, **how: Any) -> dict[str, Any]:
        asked.append((side.name, how["step"], cache.exists()))
        cache.mkdir(exist_ok=True)
        return {"rate": 100.0, "cpu_ms": 1.0, "first": 1.0}

    monkeypatch.setattr(loader, "read", answer)
    monkeypatch.setattr(loader, "_no_loader", lambda rows, step: {"rate": 200.0, "cpu_ms": 0.0, "first": 0.0})
    running = [Side("a", "a", "a"), Side("b", "b", "b", keeps=True)]
    turns = loader.take_turns(running, {"a": "", "b": ""}, 16, 2, tmp_path, {})
    cold, warm = False, True
    first, second = [("a", cold), ("b", cold), ("b", warm)], [("b", cold), ("b", warm), ("a", cold)]
    assert asked == [(name, step, kept) for order in (first, second) for step in (0.0, loader.STEP)
                     for name, kept in order]
    assert {name: len(taken) for name, taken in turns["alone"].items()} == dict.fromkeys(
        ("no loader", "a", "b", "b, warm"), 2)


def test_a_side_that_fails_in_some_round_is_out_and_the_others_go_on(tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(side: Side, *rest: object, **how: Any) -> dict[str, Any]:
        asked.append(side.name)
        if asked.count("b") == 2 and side.name == "b":
            raise Failed("b has enough")
        return {"rate": 100.0}

    monkeypatch.setattr(loader, "read", answer)
    monkeypatch.setattr(loader, "_no_loader", lambda rows, step: {"rate": 200.0})
    failed: dict[str, str] = {}
    turns = loader.take_turns([Side("a", "a", "a"), Side("b", "b", "b")], {"a": "", "b": ""}, 16, 2, tmp_path, failed)
    assert failed == {"b": "b has enough"}
    assert asked == [*"abab", *"aa"]
    assert {name: len(taken) for name, taken in turns["beside a step"].items()} == {"no loader": 2, "a": 2}


@pytest.fixture
def judged() -> Callable[..., list[bool]]:
    def judge(beside: float, alone: float, first: float) -> list[bool]:
        def case(no_loader: float, own: float, rival: float) -> dict[str, list[dict[str, Any]]]:
            return {name: [{"rate": rate, "first": first}] for name, rate in (
                (loader.NO_LOADER, no_loader), (sides.OWN[0].name, own), (sides.RIVALS[0].name, rival))}
        return [*loader.verdict({"alone": case(9e9, alone, 300), "beside a step": case(200, beside, 160)}).values()]
    return judge


def test_the_verdict(judged: Callable[..., list[bool]]) -> None:
    assert judged(171, 286, 4.9) == [True] * 4
    assert judged(169, 286, 4.9) == [False, True, True, True]
    assert judged(159, 286, 4.9) == [False, False, True, True]
    assert judged(171, 284, 5.1) == [True, True, False, False]


@pytest.mark.slow
def test_the_whole_bench_on_a_few_rows(tmp_path: Path) -> None:
    program = f"""
import json
from pathlib import Path
from scripts.bench import loader
from scripts.bench.rivals.sides import OWN, RIVALS, Side
chosen = [*OWN, *(s for s in RIVALS if s.module in ("parquet", "hd5")), Side("absent", "absent", "absent")]
print(json.dumps(loader.bench(Path({str(tmp_path)!r}), 48, 1, chosen)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert [*result["failed"]] == ["absent"]
    for case in ("alone", "beside a step"):
        assert all(taken["rate"][0] > 0 and taken["mib"] > 0 for name, taken in result[case].items()
                   if name != loader.NO_LOADER)
    assert result["beside a step"][loader.NO_LOADER]["rate"][0] == pytest.approx(200, rel=0.3)
