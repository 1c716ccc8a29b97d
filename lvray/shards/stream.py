"""Rows in motion: carries out the order of order.py, by Ray Data or by threads. Both give the same batches.

The plan decides; the readers only fetch. Tensors travel encoded and are decoded in the worker, ahead of use.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Literal, TypeVar, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lvray.errors import EnvironmentFault, LvrayError, UseError
from lvray.settings import Stream
from lvray.shards import order
from lvray.shards.dataset import Dataset
from lvray.shards.manifest import Part
from lvray.shards.read import read_block
from lvray.shards.schema import ED_COLUMNS, Row, from_arrow

T = TypeVar("T")
S = TypeVar("S")
Position = tuple[int, int]
"""(epoch, step), both from 0."""
Reader = Literal["ray", "threads"]
Collate = Callable[[list[Row], int, list[int]], T]
"""(rows, epoch, their numbers in the data set) -> a batch. Called on two threads."""

CHAIN_BLOCKS = 512
"""So many blocks are one Ray data set, whatever the epochs: it takes a second to start, and a millisecond a block."""
BLOCK_ROWS = 64
"""Windows smaller than this are read several at a time."""
AHEAD = 3
"""Batches collated, and blocks read by threads, ahead of use."""
_END: Any = object()


@dataclass(frozen=True)
class Arrived:
    """A row as read: number in the data set, and where it lies in a table."""

    number: int
    table: pa.Table
    at: int


def batches(dataset: Dataset, selection: NDArray[np.int64], stream: Stream, collate: Collate[T], *, epochs: int,
            start: Position = (0, 0), rank: int = 0, world: int = 1,
            reader: Reader = "ray") -> Iterator[tuple[Position, T]]:
    """The batches of one worker from `start` to the end of epoch `epochs` - 1, each with its position.

    selection: numbers of the rows to train on (`dataset.select`). A worker gets its share of the lanes of each step.
    UseError where the rows fill no batch, where workers outnumber lanes, and for a shard that is missing or damaged;
    EnvironmentFault where the store fails. Never a row fewer than planned.
    """
    if len(selection) < stream.batch:
        raise UseError(f"{len(selection)} rows to train on fill no batch of {stream.batch}: "
                       "more data, or a smaller batch")
    if world > stream.lanes:
        raise UseError(f"{world} workers share {stream.lanes} lanes: use at most {stream.lanes} workers, or a recipe "
                       "of a larger batch and more lanes, with its own learning rate")
    own = order.share(stream.lanes, rank, world)
    steps = _steps(dataset, selection, stream, own, start, epochs, reader)
    with ThreadPoolExecutor(2, "collate") as pool:
        yield from ahead(pool, partial(_collate, collate), steps)


def scan(dataset: Dataset, selection: NDArray[np.int64], columns: list[str] = ED_COLUMNS) -> Iterator[tuple[int, Row]]:
    """(number, row) of every selected row, once, in the order given; for validation and evaluation.

    columns: ED_COLUMNS, or all of schema.SCHEMA where the other phases are wanted too.
    """
    parts = [selection[i:i + BLOCK_ROWS] for i in range(0, len(selection), BLOCK_ROWS)]
    for row in _rows(_read_by_threads(dataset, _blocks(dataset, parts), columns)):
        yield row.number, from_arrow(row.table.slice(row.at, 1))[0]


def _steps(dataset: Dataset, selection: NDArray[np.int64], stream: Stream, own: range, start: Position, epochs: int,
           reader: Reader) -> Iterator[tuple[Position, list[Arrived]]]:
    """The rows of each step, encoded. The reader goes through the same plan by itself, ahead, from epoch to epoch."""
    def plan() -> Iterator[tuple[int, list[order.Task]]]:
        for epoch in range(start[0], epochs):
            yield epoch, _tasks(dataset, selection, stream, own, epoch, start[1] if epoch == start[0] else 0)

    read = _read_by_ray if reader == "ray" else _read_by_threads
    parts = (selection[task.rows] for _, tasks in plan() for task in tasks)
    arriving = _rows(read(dataset, _blocks(dataset, parts)))
    for epoch, tasks in plan():
        arrived = ((task.lane, _exactly(arriving, selection[task.rows])) for task in tasks)
        steps = order.assemble(arrived, own, stream.batch // stream.lanes)
        for step, rows in enumerate(steps, tasks[0].step if tasks else 0):
            yield (epoch, step), rows


def _tasks(dataset: Dataset, selection: NDArray[np.int64], stream: Stream, own: range, epoch: int,
           start: int) -> list[order.Task]:
    shard, group = (dataset.column(name)[selection] for name in ("shard", "group"))
    dealt = order.epoch_order(shard, group, batch=stream.batch, lanes=stream.lanes, window=stream.window,
                              seed=stream.seed, epoch=epoch)
    return order.tasks(dealt, own, stream.batch, start)


def _blocks(dataset: Dataset, parts: Iterable[NDArray[np.int64]]) -> Iterator[pa.Table]:
    """Row numbers of consecutive tasks -> what `read_block` reads in one go: one task, or several small ones."""
    waiting: list[NDArray[np.int64]] = []

    def block() -> pa.Table:
        rows = np.concatenate(waiting)
        places = {name: dataset.column(name)[rows] for name in ("shard", "group", "at")}
        return pa.table({"row": rows, **places, "study": dataset.index["study"].take(rows)})

    for part in parts:
        if waiting and sum(map(len, waiting)) + len(part) > BLOCK_ROWS:
            yield block()
            waiting = []
        waiting.append(part)
    if waiting:
        yield block()


def _rows(tables: Iterable[pa.Table]) -> Iterator[Arrived]:
    for table in tables:
        for at, number in enumerate(table["row"].to_pylist()):
            yield Arrived(number, table, at)


def _exactly(arriving: Iterator[Arrived], planned: NDArray[np.int64]) -> list[Arrived]:
    """The next rows of the stream, which must be the planned ones."""
    rows = list(islice(arriving, len(planned)))
    if [row.number for row in rows] != planned.tolist():
        raise LvrayError(f"the reader gave {len(rows)} rows that are not the {len(planned)} planned")
    return rows


def _collate(collate: Collate[T], step: tuple[Position, list[Arrived]]) -> tuple[Position, T]:
    position, rows = step
    decoded = from_arrow(pa.concat_tables([row.table.slice(row.at, 1) for row in rows]))
    return position, collate(decoded, position[0], [row.number for row in rows])


def ahead(pool: ThreadPoolExecutor, work: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """`map` on threads, in order, at most AHEAD items ahead of use. A thread of its own draws the items: one that is
    late holds up nothing that is ready."""
    rest = iter(items)

    def done(drawn: Future[S]) -> T:
        item = drawn.result()
        return cast(T, _END) if item is _END else work(item)

    drawing = ThreadPoolExecutor(1, "draw")
    waiting: deque[Future[T]] = deque()
    try:
        while True:
            while len(waiting) <= AHEAD:
                waiting.append(pool.submit(done, drawing.submit(next, rest, _END)))
            made = waiting.popleft().result()
            if made is _END:
                return
            yield made
    finally:
        drawing.shutdown(cancel_futures=True)
        for future in waiting:
            future.cancel()
        if isinstance(rest, Generator):  # what it reads with ends now, and not when it is collected
            rest.close()


def _read_by_threads(dataset: Dataset, blocks: Iterator[pa.Table],
                     columns: list[str] = ED_COLUMNS) -> Iterator[pa.Table]:
    read = partial(read_block, uri=dataset.uri, shards=dataset.manifest.shards, columns=columns)
    with ThreadPoolExecutor(2, "read") as pool:
        yield from ahead(pool, read, blocks)


def _read_by_ray(dataset: Dataset, blocks: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """One Ray task a block. A whole CPU each: half ones make Ray start and stop processes all the time."""
    import ray.data

    from lvray.shards.rest import Rest

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.custom_execution_callback_classes = [Rest]
    while chain := list(islice(blocks, CHAIN_BLOCKS)):
        with ray.data.DataContext.current(context):
            rows = ray.data.from_blocks(chain).map_batches(  # from_arrow runs a task for each block first
                cast(Any, _read_or_tell), fn_kwargs={"uri": dataset.uri, "shards": dataset.manifest.shards},
                batch_size=None, batch_format="pyarrow", num_cpus=1)
        table: Any
        for table in rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2):
            if "fault" in table.column_names:
                raise _FAULTS[table["fault"][0].as_py()](table["message"][0].as_py())
            yield table


_FAULTS: dict[str, type[LvrayError]] = {kind.__name__: kind for kind in (UseError, EnvironmentFault)}


def _read_or_tell(block: pa.Table, uri: str, shards: tuple[Part, ...]) -> pa.Table:
    """In a Ray task. A fault travels as a table: raised there, it would come back wrapped, with a page of traceback."""
    try:
        return read_block(block, uri, shards)
    except (UseError, EnvironmentFault) as error:
        return pa.table({"fault": [type(error).__name__], "message": [str(error)]})
