from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lvray.errors import EnvironmentFault, LvrayError, UseError
from lvray.settings import Stream
from lvray.shards import schema, stream
from lvray.shards.dataset import Dataset, select
from lvray.shards.schema import Row

SETTINGS = Stream(batch=4, lanes=4, window=8, seed=3)
Batch = tuple[tuple[int, int], list[int]]


def numbers(rows: list[Row], epoch: int, at: list[int]) -> list[int]:
    """A collate: what the pixels say, the rows' numbers, and the epoch."""
    return [*(int(row.image[0, 0, 0]) for row in rows), *at, epoch]


def only(rows: list[Row], epoch: int, at: list[int]) -> list[int]:
    return at


def read(dataset: Dataset, **options: Any) -> list[Batch]:
    selection = options.pop("selection", select(dataset, ["train"]))
    settings = options.pop("settings", SETTINGS)
    return list(stream.batches(dataset, selection, settings, options.pop("collate", numbers),
                               **{"reader": "threads", "epochs": 3, **options}))


def test_batches_hold_each_selected_row_once_an_epoch(dataset: Dataset, rows: list[Row]) -> None:
    selection = select(dataset, ["train"], ["mask"])
    got = read(dataset, selection=selection)
    steps = len(selection) // 4
    assert [position for position, _ in got] == [(e, s) for e in range(3) for s in range(steps)]
    studies = dataset.column("study")
    for epoch in range(3):
        at = [n for (e, _), batch in got if e == epoch for n in batch[4:8]]
        assert len(at) == len(set(at)) == steps * 4
        assert set(at) <= set(selection.tolist())
    for (epoch, _), batch in got:
        assert batch[8] == epoch
        assert [rows[pixel].study for pixel in batch[:4]] == [studies[n] for n in batch[4:8]]


def test_rows_come_back_as_written(dataset: Dataset, rows: list[Row]) -> None:
    written = {row.study: row for row in rows}

    def same(read: list[Row], epoch: int, at: list[int]) -> None:
        for row in read:
            for field in dataclasses.fields(Row):
                beyond = field.name in schema.BEYOND_ED
                np.testing.assert_equal(getattr(row, field.name),
                                        None if beyond else getattr(written[row.study], field.name))
    read(dataset, collate=same, epochs=1)


@pytest.mark.parametrize("start", [(0, 0), (0, 3), (0, 99), (1, 0), (1, 2), (2, 6)])
def test_any_start_continues_the_same_batches(dataset: Dataset, start: tuple[int, int]) -> None:
    assert read(dataset, start=start) == [b for b in read(dataset) if b[0] >= start]


def test_chained_and_single_epochs_agree(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    chained = read(dataset)
    monkeypatch.setattr(stream, "CHAIN_BLOCKS", 1)
    monkeypatch.setattr(stream, "BLOCK_ROWS", 1)
    assert read(dataset) == chained


@pytest.mark.parametrize("world", [2, 3, 4])
def test_workers_share_the_batch_of_one(dataset: Dataset, world: int) -> None:
    parts = [read(dataset, rank=rank, world=world, start=(0, 1), collate=only) for rank in range(world)]
    joined = [(step[0][0], [n for _, rows in step for n in rows]) for step in zip(*parts, strict=True)]
    assert joined == read(dataset, start=(0, 1), collate=only)


@pytest.mark.parametrize("reader", ["ray", "threads"])
def test_a_world_that_changes_within_and_across_epochs(ray_cluster: None, dataset: Dataset, reader: str) -> None:
    """1 worker, then 2 from the middle of an epoch over its end, then 1 again: the batches of one alone."""
    want = read(dataset, collate=only)
    first, second = 5, len(want) // 2 + 2
    two = [read(dataset, start=want[first][0], rank=rank, world=2, reader=reader, collate=only) for rank in (0, 1)]
    joined = [(mine[0], mine[1] + other[1]) for mine, other in zip(*two, strict=True)]
    rest = read(dataset, start=want[second][0], reader=reader, collate=only)
    assert want[:first] + joined[:second - first] + rest == want


@pytest.mark.parametrize("start", [(0, 0), (0, 5), (2, 3)])
def test_ray_and_threads_give_identical_batches(ray_cluster: None, dataset: Dataset, start: tuple[int, int]) -> None:
    assert read(dataset, start=start, reader="ray") == read(dataset, start=start)


def test_two_ray_workers_chain_by_chain(ray_cluster: None, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CHAIN_BLOCKS", 1)
    monkeypatch.setattr(stream, "BLOCK_ROWS", 1)
    for rank in (0, 1):
        assert read(dataset, reader="ray", rank=rank, world=2, epochs=2) == read(dataset, rank=rank, world=2, epochs=2)


def test_ray_leaves_its_defaults_alone(ray_cluster: None, dataset: Dataset) -> None:
    import ray.data

    before = ray.data.DataContext.get_current()
    read(dataset, reader="ray", epochs=1)
    assert ray.data.DataContext.get_current() is before
    assert not before.execution_options.preserve_order


def test_rays_loop_rests_between_its_steps(ray_cluster: None, dataset: Dataset,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it would turn at full speed beside the training, in the same process."""
    rests: list[object] = []
    monkeypatch.setattr("lvray.shards.rest.Rest.on_execution_step", lambda self, executor: rests.append(executor))
    read(dataset, reader="ray", epochs=1)
    assert rests


def test_a_stream_may_be_left_early(ray_cluster: None, dataset: Dataset) -> None:
    for reader in ("ray", "threads"):
        batches = stream.batches(dataset, select(dataset, ["train"]), SETTINGS, numbers, epochs=50, reader=reader)
        assert next(batches)[0] == (0, 0)
        del batches


def test_threads_need_no_ray(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert read(dataset, reader="threads")
    with pytest.raises(ImportError):
        read(dataset, reader="ray")


def shard_file(dataset: Dataset, split: str = "train") -> Path:
    return Path(dataset.uri) / next(p.name for p in dataset.manifest.shards if p.name.startswith(split))


def flip(path: Path) -> None:
    """One bit in the images of the first row group."""
    data = bytearray(path.read_bytes())
    image = pq.ParquetFile(path).metadata.row_group(0).column(schema.SCHEMA.names.index("image"))
    assert image.path_in_schema == "image"
    data[image.data_page_offset + image.total_compressed_size // 2] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("reader", ["ray", "threads"])
@pytest.mark.parametrize(("harm", "says"), [
    (Path.unlink, "missing"),
    (flip, "damaged"),
    (lambda p: p.write_bytes(p.read_bytes()[:-9]), "bytes, the manifest lists"),
])
def test_a_broken_shard_is_named(ray_cluster: None, dataset: Dataset, reader: str, harm: Callable[[Path], Any],
                                 says: str) -> None:
    path = shard_file(dataset)
    harm(path)
    with pytest.raises(UseError, match=f"{path.name}.*{says}"):
        read(dataset, reader=reader)


@pytest.mark.parametrize("reader", ["ray", "threads"])
def test_shards_of_other_studies_than_listed_are_found_out(ray_cluster: None, dataset: Dataset, reader: str) -> None:
    """Counts and checksums may agree where a manifest lists shards in each other's place: only the studies tell."""
    at = dataset.index.schema.get_field_index("study")
    others = dataset.index["study"].take(pa.array(range(dataset.index.num_rows)[::-1]))
    lying = dataclasses.replace(dataset, index=dataset.index.set_column(at, dataset.index.schema.field(at), others))
    with pytest.raises(UseError, match="holds other studies than the index lists there"):
        read(lying, reader=reader)


def test_an_unreadable_shard_is_the_environments_fault(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shard_file(dataset)
    path.unlink()
    path.mkdir()
    with pytest.raises(EnvironmentFault, match=f"cannot read shard {path.name}"):
        read(dataset)


def test_fewer_rows_than_planned_are_never_passed_on(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = stream._read_by_threads

    def lossy(dataset: Dataset, blocks: Iterator[Any]) -> Iterator[Any]:
        for table in honest(dataset, blocks):
            yield table.slice(1)
    monkeypatch.setattr(stream, "_read_by_threads", lossy)
    with pytest.raises(LvrayError, match="not the"):
        read(dataset)


def test_a_late_item_holds_up_nothing_that_is_ready() -> None:
    late = Event()

    def items() -> Iterator[int]:
        yield from range(2)
        assert late.wait(60)
        yield 2
    with ThreadPoolExecutor(1) as pool:
        made = stream.ahead(pool, str, items())
        assert [next(made), next(made)] == ["0", "1"]
        late.set()
        assert list(made) == ["2"]


def test_what_is_left_early_ends_at_once() -> None:
    ended: list[bool] = []

    def items() -> Iterator[int]:
        try:
            yield from range(99)
        finally:
            ended.append(True)
    with ThreadPoolExecutor(1) as pool:
        made = stream.ahead(pool, str, items())
        assert next(made) == "0"
        cast(Generator[str, None, None], made).close()
        assert ended == [True]


def test_a_failing_collate_is_passed_on(dataset: Dataset) -> None:
    def fail(rows: list[Row], epoch: int, at: list[int]) -> None:
        raise UseError("too many slices for the box")
    with pytest.raises(UseError, match="too many slices"):
        read(dataset, collate=fail)


def test_wrong_use(dataset: Dataset) -> None:
    with pytest.raises(UseError, match="3 rows to train on fill no batch of 4"):
        read(dataset, selection=np.arange(3))
    with pytest.raises(UseError, match="5 workers share 4 lanes"):
        read(dataset, world=5)


def test_scan_gives_every_row_once_in_order(dataset: Dataset) -> None:
    selection = select(dataset, ["holdout", "validation"])[::-1]
    found = list(stream.scan(dataset, selection))
    assert [number for number, _ in found] == selection.tolist()
    assert [row.study for _, row in found] == dataset.column("study")[selection].tolist()
    assert list(stream.scan(dataset, selection[:0])) == []
