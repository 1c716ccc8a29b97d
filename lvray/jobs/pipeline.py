"""Studies to outcomes by Ray Data: tasks read, workers that hold the network answer, tasks measure and write masks.

    blocks of items --read--> what the network is shown --Network--> its answers --finish--> outcomes

A study that kills its reader or worker is tried again, then alone, then refused. What is shown travels between the
processes as it is, so that a worker has nothing to decode. No torch at the top: reading tasks import this.
"""

from __future__ import annotations

import gc
import json
import logging
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray

from lvray.cmr.geometry import Turn
from lvray.cmr.nifti import mask_bytes
from lvray.cmr.quality import OF_IMAGES
from lvray.cmr.study import read_cine
from lvray.errors import EnvironmentFault, LvrayError, Reason, StudyRefused, internal
from lvray.estimate import View, predicted, view
from lvray.evidence.overlap import overlap
from lvray.jobs.guard import bounded
from lvray.jobs.in_order import RETRIES
from lvray.jobs.outcomes import ESTIMATES, Outcome, mask_name
from lvray.nets.trained import Shown, Trained
from lvray.settings import Predict
from lvray.shards import storage
from lvray.shards.dataset import Dataset
from lvray.shards.identity import keyed
from lvray.shards.listing import Source
from lvray.shards.schema import ED_COLUMNS, Reject, Row
from lvray.shards.stream import scan
from lvray.shards.studies import open_study

if TYPE_CHECKING:
    from lvray.nets.predict import Predictor

COLUMNS = [name for name in ED_COLUMNS if name != "mask"]
CHAIN_BLOCKS = 8192
"""So many blocks are one Ray data set: its workers start with it."""
BLOCK_BYTES = 4 << 20
"""Of what is shown, in one piece: small, so that no worker is left with much while the others are done."""
AT_ONCE = 2
"""Pieces that a worker has or waits for."""


@dataclass(frozen=True)
class Item:
    """A study to be predicted. where: its DICOM, or its number in the data set. version: of its files, keyed."""

    study: str
    position: int
    version: str
    where: Source | int = field(repr=False)

    def reject(self, reason: Reason, detail: str) -> Outcome:
        return Outcome(self.version, Reject(self.study, self.position, str(reason), detail, None))


@dataclass(frozen=True)
class Plan:
    """What every task is given. dataset: where items are its rows; masks: URI to write them to; compare: whether masks
    are compared with the rows' outlines, into "overlap" of an outcome."""

    by: Trained
    settings: Predict
    dataset: Dataset | None
    key: bytes = field(repr=False)
    masks: str | None = None
    compare: bool = False


@dataclass(frozen=True)
class Seen:
    """A study on its way. names: the row's columns that say whose it is; outlines: the row's mask, to compare with;
    answer: the network's, once there is one."""

    item: Item
    names: dict[str, Any]
    view: View
    shown: Shown
    outlines: NDArray[np.uint8] | None = None
    answer: Any = None


@dataclass(frozen=True)
class Fault:
    """A fault of lvray or the store, which ends the job; raised in a task it would come back wrapped."""

    error: LvrayError


def outcomes(todo: Sequence[Item], plan: Plan, predictor: Predictor) -> Iterator[Outcome]:
    """The outcome of every item, in any order. Ray must be running. LvrayError, EnvironmentFault.

    plan.settings: device, batch and workers decided.
    """
    given, network = ray.put(plan), ray.put(predictor)
    missing = {item.study: item for item in todo}
    for cut, at_once in ((together, AT_ONCE), (_alone, 1)):  # what was lost with a worker is tried again, alone
        blocks = cut(list(missing.values()), plan.dataset)
        for i in range(0, len(blocks), CHAIN_BLOCKS):
            chain = blocks[i:i + CHAIN_BLOCKS]
            worker = _worker(plan.settings, at_once, len(chain))
            for one in _run(chain, worker, plan.settings, given, network):
                if isinstance(one, Fault):
                    raise one.error
                if missing.pop(one.study, None) is not None:
                    yield one
            gc.collect()  # a worker that was starting anew as its pool ended would keep its CPU from the next
    for item in missing.values():
        yield item.reject(Reason.GAVE_UP, "whoever read or predicted it died each time, or took more than"
                                          f" {plan.settings.study_seconds} s to read it")


def _alone(todo: Sequence[Item], dataset: Dataset | None) -> list[list[Item]]:
    return [[item] for item in todo]


def together(todo: Sequence[Item], dataset: Dataset | None) -> list[list[Item]]:
    """What a task reads: a study, or the rows of a row group."""
    if dataset is None:
        return _alone(todo, dataset)
    place = list(zip(dataset.column("shard").tolist(), dataset.column("group").tolist(), strict=True))
    return [list(rows) for _, rows in groupby(todo, lambda item: place[item.where])]  # type: ignore[index]


def _run(blocks: Sequence[Sequence[Item]], worker: dict[str, Any], settings: Predict, given: Any,
         network: Any) -> Iterator[Outcome | Fault]:
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # a lost block is no error: it is looked at again
    context = ray.data.DataContext.get_current().copy()
    context.target_max_block_size = BLOCK_BYTES
    context.max_errored_blocks = -1
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    task: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow", "num_cpus": 1, "max_retries": RETRIES}
    with ray.data.DataContext.current(context), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # no other way to bound retries; they are without end
        rows = (ray.data.from_blocks([packed(block) for block in blocks])
                .map_batches(partial(_each, read, given), **task)
                .map_batches(Network, fn_constructor_args=(network, settings), batch_size=None,
                             batch_format="pyarrow", **worker)
                .map_batches(partial(_each, finish, given), **task))
    for table in rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2):
        yield from unpacked(table)


def _worker(settings: Predict, at_once: int, blocks: int) -> dict[str, Any]:
    """Arguments of map_batches."""
    from lvray.nets.step import ENVIRONMENT

    on_gpu, workers = settings.device == "cuda", settings.workers
    assert workers is not None
    asks = {"num_gpus": 1, "num_cpus": 1} if on_gpu else {"num_cpus": cpus_of(settings.threads)}
    pool = ray.data.ActorPoolStrategy(size=min(workers, blocks), max_tasks_in_flight_per_actor=at_once)
    return {**asks, "compute": pool, "max_task_retries": RETRIES,
            "runtime_env": {"env_vars": {} if on_gpu else ENVIRONMENT}}


def cpus_of(threads: int) -> float:
    """What a worker on CPUs asks for: half of those it uses, so that the tasks beside it, a few percent of the work,
    find a place."""
    return threads / 2


class Network:
    """In an actor: the network's answers to whatever was read."""

    def __init__(self, network: Any, settings: Predict) -> None:
        import torch

        from lvray.nets.step import deterministic

        predictor: Predictor = ray.get(network)
        device = torch.device(settings.device)
        torch.set_num_threads(settings.threads)
        torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32
        deterministic(device)
        self._batch = settings.batch or 1
        self._predictor = replace(predictor, model=predictor.model.to(device), precision=settings.precision)

    def __call__(self, table: pa.Table) -> pa.Table:
        arrived = list(unpacked(table))
        studies = [one for one in arrived if isinstance(one, Seen)]
        answer = self._predictor.masses if self._predictor.network["kind"] == "reg" else self._predictor.masks
        try:
            answers = answer([one.shown for one in studies], self._batch)
        except Exception as e:
            return packed([Fault(LvrayError(internal(e)))])
        blank = np.zeros(0, np.float32)
        done = [replace(one, answer=found, shown=replace(one.shown, image=blank))
                for one, found in zip(studies, answers, strict=True)]
        return packed([*(one for one in arrived if not isinstance(one, Seen)), *done])


def _each(do: Callable[[Any, Plan], Iterator[Any]], given: Any, table: pa.Table) -> pa.Table:
    """In a Ray task."""
    plan, made = _plan(given), []
    try:
        made = list(do(list(unpacked(table)), plan))
    except LvrayError as error:
        made = [Fault(error)]
    return packed(made)


def read(items: Sequence[Item], plan: Plan) -> Iterator[Seen | Outcome]:
    if plan.dataset is None:
        yield from (_read_study(item, plan) for item in items)
        return
    rows = scan(plan.dataset, np.array([item.where for item in items]), ED_COLUMNS if plan.compare else COLUMNS)
    for item, (_, row) in zip(items, rows, strict=True):
        names = {"study": row.study, "participant": row.participant, "visit": row.visit}
        yield _shown(item, names, _view_of(row), plan.by, row.mask)


def _read_study(item: Item, plan: Plan) -> Seen | Outcome:
    source = item.where
    assert isinstance(source, Source)
    try:
        with bounded(plan.settings.study_seconds), open_study(source) as study:
            cine = read_cine(study.members)
            person, visit = source.participant_and_visit() or (cine.patient or source.name, None)
            names = {"study": item.study, "participant": keyed(plan.key, "participant", person), "visit": visit}
            return _shown(item, names, view(cine), plan.by)
    except StudyRefused as e:
        return item.reject(e.reason, e.detail)
    except EnvironmentFault as e:
        if not isinstance(e.__cause__, (FileNotFoundError, PermissionError)):
            raise EnvironmentFault(f"study {item.position}: {e}") from e
        return item.reject(Reason.UNREADABLE_FILE, "it is not there, or may not be read")
    except LvrayError:
        raise
    except MemoryError:
        return item.reject(Reason.TOO_LARGE, "reading it takes absurdly much memory; is a file damaged?")
    except Exception as e:  # one odd study must not end a cohort of thousands
        return item.reject(Reason.INTERNAL, internal(e))


def _view_of(row: Row) -> View:
    """Of a data set's row, which is in the canonical orientation already."""
    return View(row.image, row.spacing, row.heart_yx, Turn(False, False, False), row.affine, row.ed_phase - 1, (),
                frozenset(row.flags) & OF_IMAGES, row.height_cm, row.weight_kg, row.sex)


def _shown(item: Item, names: dict[str, Any], seen: View, by: Trained,
           outlines: NDArray[np.uint8] | None = None) -> Seen | Outcome:
    try:
        shown = by.shown(seen.image, seen.spacing, seen.centre_yx, seen.tilt)
    except StudyRefused as e:
        return item.reject(e.reason, e.detail)
    return Seen(item, names, replace(seen, image=seen.image[:, :0, :0]), shown, outlines)


def finish(arrived: Sequence[Seen | Outcome | Fault], plan: Plan) -> Iterator[Outcome | Fault]:
    for one in arrived:
        if not isinstance(one, Seen):
            yield one
            continue
        try:
            yield _outcome(one, plan)
        except StudyRefused as e:
            yield one.item.reject(e.reason, e.detail)
        except LvrayError:
            raise
        except Exception as e:
            yield one.item.reject(Reason.INTERNAL, internal(e))


def _outcome(one: Seen, plan: Plan) -> Outcome:
    answer = one.answer if isinstance(one.answer, float) else one.answer.put_back(one.shown.placement)
    found = predicted(one.view, answer, plan.by)
    if plan.masks is not None and found.mask is not None:
        storage.write_atomic(storage.join(plan.masks, mask_name(one.item.study)), mask_bytes(found.mask, found.affine),
                             "a mask")
    plain = found.to_dict()
    low, high = found.interval_g or (None, None)
    kept = {name: value for name, value in plain.items() if name in ESTIMATES.names}
    if one.outlines is not None and found.mask is not None:
        kept["overlap"] = overlap(found.mask, one.outlines, one.view.own_spacing)
    return Outcome(one.item.version, {**kept, **one.names, "interval_low_g": low, "interval_high_g": high,
                                      "weights_sha256": plan.by.weights_sha256,
                                      "network": json.dumps(found.network), "versions": json.dumps(found.versions)})


@lru_cache(maxsize=1)
def _plan(given: Any) -> Plan:
    """Once a process."""
    plan: Plan = ray.get(given)
    return plan


def packed(what: Sequence[Any]) -> pa.Table:
    return pa.table({"parcel": pa.array([pickle.dumps(one, protocol=5) for one in what], pa.large_binary())})


def unpacked(table: pa.Table) -> Iterator[Any]:
    """Only what a task of this job has packed."""
    for cell in table["parcel"]:
        yield pickle.loads(cell.as_buffer())
