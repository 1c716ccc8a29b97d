"""Order, faults and dead workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lvray.errors import LvrayError, UseError
from lvray.jobs.in_order import in_order


def fail_on_three(item: int, folder: Path) -> int:
    if item == 3:
        raise UseError("three is refused")
    return item * 2


def die_always(item: int, folder: Path) -> int:
    os._exit(1)


def die_once(item: int, folder: Path) -> int:
    mark = folder / str(item)
    if not mark.exists():
        mark.touch()
        os._exit(1)
    return item


def test_results_come_in_order_and_a_fault_as_itself(ray_cluster: None, tmp_path: Path) -> None:
    assert list(in_order(fail_on_three, [5, 1, 4, 2], tmp_path)) == [10, 2, 8, 4]
    with pytest.raises(UseError, match="three is refused"):
        list(in_order(fail_on_three, range(40), tmp_path))


def test_a_worker_that_dies_is_replaced(ray_cluster: None, tmp_path: Path) -> None:
    assert list(in_order(die_once, [1, 2], tmp_path)) == [1, 2]


def test_work_that_kills_every_worker_is_given_up(ray_cluster: None, tmp_path: Path) -> None:
    assert list(in_order(die_always, [7], tmp_path, lost=lambda item: -item)) == [-7]
    with pytest.raises(LvrayError, match="a worker died 4 times"):
        list(in_order(die_always, [7], tmp_path))
