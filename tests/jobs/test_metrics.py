"""Every line of a run once in the end, whatever is killed; a store that refuses for a while costs no line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from lvray import recipes
from lvray.errors import EnvironmentFault
from lvray.jobs import metrics
from lvray.jobs.board import Line
from lvray.jobs.metrics import Metrics
from lvray.shards import storage

EPOCHS, STEPS = 3, 4
REFUSED = EnvironmentFault("cannot write metrics.jsonl: no space left")


def begins(epoch: int = 0, step: int = 0) -> Line:
    return {"begins": (epoch, step), "world": 1, "epochs": EPOCHS, "steps": STEPS}


def told(epoch: int = 0, step: int = 0) -> list[Line]:
    """What a run tells from a position to its end."""
    lines = [begins(epoch, step)]
    for e in range(epoch, EPOCHS):
        for s in range(step if e == epoch else 0, STEPS):
            lines += [{"epoch": e + 1, "step": s + 1, "loss": 1 / (e + s + 1), "norm": 1.0},
                      {"pace": {"samples_per_second": 80.0, "waiting": 0.1, "seconds": 1.0}}]
        lines.append({"epoch": e + 1, "loss": 0.5, "lr": 1e-3, "world": 1, "validation_loss": 0.6,
                      "samples_per_second": 80.0, "waiting": 0.1, "seconds": 1.0})
    return lines


def interrupted(lines: list[Line]) -> Iterator[Line]:
    yield from lines
    raise KeyboardInterrupt


def keep(run: str, *parts: Iterable[Line], notice: Callable[[str], None] = lambda text: None) -> Metrics:
    """Each part is told to a command of its own, one after another."""
    for part in parts:
        with Metrics(run, (), recipes.smoke_seg(), "9f", notice) as made:
            for line in part:
                made.take(line)
    return made


def kept(run: str) -> list[Line]:
    """What stands in the file, without the starts."""
    text = storage.read_bytes(storage.join(run, metrics.FILE), "metrics")
    return [line for line in map(json.loads, text.splitlines()) if "begins" not in line]


WHOLE = [line for line in told() if "epoch" in line]


class AtOnce:
    """What is left to a thread is done at once."""

    def __init__(self, *args: Any) -> None: ...

    def submit(self, do: Callable[..., Any], *args: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(do(*args))
        return done

    def shutdown(self) -> None: ...


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "ThreadPoolExecutor", AtOnce)


def test_an_undisturbed_run_in_its_order(tmp_path: Path) -> None:
    made = keep(str(tmp_path), told())
    assert kept(str(tmp_path)) == WHOLE
    assert made.lines()[0] == begins() | {"begins": [0, 0]}


@pytest.mark.parametrize("saved", [(0, 0), (0, 3), (1, 0), (2, 1)])
def test_each_line_stands_once_wherever_a_command_dies(tmp_path: Path, saved: tuple[int, int]) -> None:
    """After a checkpoint: what led to it was told before it was written."""
    whole = told()
    led_to_it = next(n for n, line in enumerate(whole) if (line.get("epoch", 0) - 1, line.get("step")) >= saved) + 1
    for died in range(led_to_it, len(whole)):
        keep(str(tmp_path / str(died)), whole[:died], told(*saved))
        assert kept(str(tmp_path / str(died))) == WHOLE


def test_each_line_stands_once_where_workers_die_in_the_middle_of_a_command(tmp_path: Path) -> None:
    made = keep(str(tmp_path), [*told()[:20], *told(0, 2)[:9], *told(1, 0)])
    assert kept(str(tmp_path)) == WHOLE
    assert [line["begins"] for line in made.lines() if "begins" in line] == [[0, 0], [0, 2], [1, 0]]


def test_on_disk_every_line_is_there_as_soon_as_it_is_told(tmp_path: Path) -> None:
    with Metrics(str(tmp_path), (), recipes.smoke_seg(), "9f", print) as made:
        for n, line in enumerate(line for line in told() if "pace" not in line):
            made.take(line)
            assert kept(str(tmp_path)) == WHOLE[:n]


def test_a_line_that_a_kill_left_half_written_is_dropped(tmp_path: Path) -> None:
    keep(str(tmp_path), told()[:5])
    with (tmp_path / metrics.FILE).open("ab") as file:
        file.write(b'{"epoch":1,"st')
    keep(str(tmp_path), told(0, 2))
    assert kept(str(tmp_path)) == WHOLE


def test_lines_hold_no_time_but_those_of_validations(tmp_path: Path) -> None:
    for name in ("one", "two"):
        keep(str(tmp_path / name), told())
    one, two = ((tmp_path / name / metrics.FILE).read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.usefixtures("at_once")
def test_an_object_is_written_anew_at_each_validation_each_minute_and_at_the_end(
        s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("lvray.jobs.metrics.time.monotonic", lambda: now)
    sizes = []
    with Metrics(s3, (), recipes.smoke_seg(), "9f", print) as made:
        for line in [line for line in told() if "pace" not in line][:2 + STEPS + 3]:
            now += 30 if line.get("epoch") == 2 else 0
            made.take(line)
            sizes.append(len(kept(s3)) if storage.exists(storage.join(s3, metrics.FILE), "metrics") else None)
    assert sizes == [None] * (1 + STEPS) + [STEPS + 1, STEPS + 1, STEPS + 3, STEPS + 3]
    assert len(kept(s3)) == STEPS + 4


def test_a_run_in_a_store_goes_on_too(s3: str) -> None:
    keep(s3, told()[:20], told(1, 2))
    assert kept(s3) == WHOLE


@pytest.mark.usefixtures("at_once")
def test_a_store_that_refuses_for_a_while_costs_no_line(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write, notices, times = storage.write_atomic, list[str](), 0

    def refusing(uri: str, data: bytes, what: str) -> None:
        nonlocal times
        times += 1
        if times < EPOCHS:
            raise REFUSED
        write(uri, data, what)

    monkeypatch.setattr(storage, "write_atomic", refusing)
    keep(s3, told(), notice=notices.append)
    assert notices == [str(REFUSED)]
    assert kept(s3) == WHOLE


def test_a_store_that_refuses_to_the_end_is_a_fault(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(uri: str, data: bytes, what: str) -> None:
        raise REFUSED

    monkeypatch.setattr(storage, "write_atomic", refusing)
    with pytest.raises(EnvironmentFault, match="cannot write"):
        keep(s3, told())
    with pytest.raises(KeyboardInterrupt):
        keep(s3, interrupted(told()))


def test_what_was_told_before_a_fault_is_kept(s3: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        keep(s3, interrupted(told()[:4]))
    assert kept(s3) == WHOLE[:2]
