"""As mosaicml/streaming tests its shuffles: a permutation, and the same batches however many workers read them."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvray.shards import order
from lvray.shards.order import Epoch, Ints

CASES = [(960, 4, 4, 64), (961, 8, 4, 64), (333, 12, 6, 32), (64, 4, 2, 16), (5, 4, 1, 64),
         (16, 4, 4, 64), (3, 4, 4, 8)]


def places(n: int, rows_in_group: int = 16, groups_in_shard: int = 4, kept: float = 0.8) -> tuple[Ints, Ints]:
    """Where n selected rows lie when a fifth of each shard's rows is not selected."""
    number = np.flatnonzero(np.random.default_rng(n).random(3 * n + 50) < kept)[:n]
    group = number // rows_in_group
    return group // groups_in_shard, group % groups_in_shard


def deal(n: int, batch: int, lanes: int, window: int, seed: int = 1, epoch: int = 0) -> Epoch:
    shard, group = places(n)
    return order.epoch_order(shard, group, batch=batch, lanes=lanes, window=window, seed=seed, epoch=epoch)


def run(epoch: Epoch, rank: int, world: int, batch: int, start: int = 0) -> list[list[int]]:
    """What a worker sees from `start` on."""
    own = order.share(len(epoch.rows), rank, world)
    arrived = ((t.lane, t.rows.tolist()) for t in order.tasks(epoch, own, batch, start))
    return list(order.assemble(arrived, own, batch // len(epoch.rows)))


def whole(epoch: Epoch, world: int, batch: int, start: int = 0) -> list[list[int]]:
    """The global batches of all workers together."""
    workers = [run(epoch, rank, world, batch, start) for rank in range(world)]
    return [list(chain(*parts)) for parts in zip(*workers, strict=True)]


@pytest.mark.parametrize(("n", "batch", "lanes", "window"), CASES)
def test_each_row_once_and_fewer_than_a_batch_wait(n: int, batch: int, lanes: int, window: int) -> None:
    for epoch in range(3):
        dealt = deal(n, batch, lanes, window, epoch=epoch)
        seen = list(chain(*whole(dealt, 1, batch)))
        assert len(seen) == len(set(seen)) == order.steps_in(n, batch) * batch
        assert set(seen) <= set(range(n))
        assert n - len(seen) < batch


@pytest.mark.parametrize(("n", "batch", "lanes", "window"), CASES)
def test_same_batches_for_every_world_and_start(n: int, batch: int, lanes: int, window: int) -> None:
    dealt = deal(n, batch, lanes, window)
    want = whole(dealt, 1, batch)
    for world in range(1, lanes + 1):
        for start in {0, 1, len(want) // 3, max(len(want) - 1, 0), len(want)}:
            assert whole(dealt, world, batch, start) == want[start:]


def test_a_world_that_changes_under_way_loses_nothing() -> None:
    dealt = deal(333, 12, 6, 32)
    want = whole(dealt, 1, 12)
    assert whole(dealt, 2, 12)[:5] + whole(dealt, 5, 12, 5)[:9] + whole(dealt, 1, 12, 14) == want


@given(n=st.integers(1, 200), each=st.integers(1, 3), lanes=st.integers(1, 5), window=st.integers(1, 64),
       seed=st.integers(0, 9), data=st.data())
def test_any_size(n: int, each: int, lanes: int, window: int, seed: int, data: st.DataObject) -> None:
    batch = each * lanes
    dealt = deal(n, batch, lanes, window, seed)
    want = whole(dealt, 1, batch)
    start = data.draw(st.integers(0, len(want)))
    assert whole(dealt, data.draw(st.integers(1, lanes)), batch, start) == want[start:]
    assert len(set(chain(*want))) == n // batch * batch


def test_epochs_and_seeds_differ_and_repeat() -> None:
    first = deal(960, 4, 4, 64)
    assert np.array_equal(first.rows, deal(960, 4, 4, 64).rows)
    assert not np.array_equal(first.rows, deal(960, 4, 4, 64, epoch=1).rows)
    assert not np.array_equal(first.rows, deal(960, 4, 4, 64, seed=2).rows)


def test_other_rows_wait_each_epoch() -> None:
    waiting = [set(range(63)) - set(deal(63, 4, 4, 16, epoch=e).rows.ravel().tolist()) for e in range(40)]
    assert all(len(w) == 3 for w in waiting)
    assert len(set.union(*waiting)) > 40


def test_one_row_group_is_shuffled_across_lanes() -> None:
    """A handful of studies must not always fall into the same lane."""
    lanes = [{int(row): lane for lane, rows in enumerate(deal(16, 4, 4, 64, epoch=e).rows) for row in rows}
             for e in range(20)]
    assert len({lane[0] for lane in lanes}) == 4


def test_a_reader_fetches_few_groups_twice() -> None:
    shard, group = places(2000)
    dealt = deal(2000, 4, 4, 64)
    fetched = [set(zip(shard[t.rows].tolist(), group[t.rows].tolist(), strict=True))
               for t in order.tasks(dealt, range(4), 4, 0)]
    groups = len(set(zip(shard.tolist(), group.tolist(), strict=True)))
    assert sum(map(len, fetched)) <= groups + 3 * 5     # the windows that three lane borders cut
    assert max(map(len, fetched)) <= 6


def test_tasks_come_when_needed_and_end_with_windows() -> None:
    dealt = deal(960, 4, 2, 64)
    tasks = order.tasks(dealt, range(2), 4, 7)
    assert [t.step for t in tasks] == sorted(t.step for t in tasks)
    assert {t.step for t in tasks if t.lane == 0} >= {7}
    assert sum(len(t.rows) for t in tasks) == (240 - 7) * 4


def test_wrong_use() -> None:
    with pytest.raises(ValueError, match="multiple of lanes"):
        deal(10, 4, 3, 8)
    with pytest.raises(ValueError, match="5 workers over 4 lanes"):
        order.share(4, 0, 5)
