"""The cohort form of predict: an estimate of every study under a URI. It may be killed at any time.

SRC is DICOM (zips, study folders) or a data set made by tensorize. What stands in OUT is outcomes.py's matter, how it
is computed pipeline.py's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

import lvray
from lvray.errors import LvrayError, UseError
from lvray.jobs import outcomes, pipeline
from lvray.jobs.cluster import cluster
from lvray.jobs.estimates import fetch
from lvray.jobs.outcomes import MASKS, Made, Outcome
from lvray.jobs.pipeline import Item, Plan
from lvray.nets.predict import Predictor, beside_weights
from lvray.settings import Predict
from lvray.shards import manifest, seen, storage
from lvray.shards.dataset import Dataset, open_dataset
from lvray.shards.identity import fingerprint, keyed
from lvray.shards.listing import Source, check_apart, list_studies
from lvray.shards.parts import FOLDER
from lvray.shards.schema import Reject
from lvray.shards.standing import RETRIED, version_now

GPU_BATCH = 8
DEFAULT = Predict()

Progress = Callable[[int, int, int], None]
"""(studies done, of how many, refused so far)."""


def predict_cohort(src: str, out: str, *, checkpoint: str, key: bytes, settings: Predict = DEFAULT,
                   masks: bool = False, progress: Progress = lambda done, of, refused: None) -> tuple[int, int]:
    """Predict every study under `src` that `out` does not have yet -> (estimated, refused), of all. Starts Ray if need
    be.

    A study whose files have changed is predicted anew, one that has gone leaves the tables. UseError (also where `out`
    holds estimates of other weights or settings), CheckpointError, EnvironmentFault: before any work starts.
    """
    source, predictor = check(src, out, checkpoint, masks)
    out = storage.absolute(out)
    items, dataset = items_of(source, key)
    with cluster():
        settings = decided(settings)
        made = _made(predictor, settings, dataset.manifest.key if dataset else fingerprint(key))
        work = outcomes.work_of(out, made)
        known = _known(out, work, made, items, masks)
        todo = [item for item in items if item.study not in known]
        plan = Plan(beside_weights(predictor), settings, dataset, key, storage.join(out, MASKS) if masks else None)
        _predict(todo, plan, predictor, known, work, len(items), progress)
    refused = _publish(out, items, known, made, masks)
    return len(items) - refused, refused


def check(src: str, out: str, checkpoint: str, masks: bool) -> tuple[Dataset | list[Source], Predictor]:
    """What is to be predicted, and by what. UseError, CheckpointError, EnvironmentFault: as `predict_cohort`, as far as
    that is seen without Ray and the key."""
    check_apart(src, out, "--out")
    source = source_of(src)
    predictor = fetch(storage.absolute(checkpoint))
    if masks and predictor.network["kind"] == "reg":
        raise UseError("--masks: a regressor makes no mask; give a segmenter's checkpoint")
    storage.preflight(storage.absolute(out), write=True, what="the output")
    return source, predictor


def decided(settings: Predict) -> Predict:
    """With device, batch and workers as this cluster, which must be running, has them. UseError: more workers than it
    has room for beside the tasks that read."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = (int(sum(node.get(kind, 0) for node in nodes)) for kind in ("CPU", "GPU"))
    device = ("cuda" if gpus else "cpu") if settings.device == "auto" else settings.device
    on_gpu = device == "cuda"
    most = min(gpus, cpus - 1) if on_gpu else _room([node.get("CPU", 0) for node in nodes], settings.threads)
    workers = settings.workers or max(1, gpus if on_gpu else min(cpus // settings.threads, most))
    if workers > most:
        raise UseError(f"{workers} workers of {settings.threads} threads on {device}: beside the tasks that read, this"
                       f" cluster of {cpus} CPUs and {gpus} GPUs has room for {most}; set fewer workers or threads")
    return settings.model_copy(update={"device": device, "batch": settings.batch or (GPU_BATCH if on_gpu else 1),
                                       "workers": workers})


def _room(nodes: Sequence[float], threads: int) -> int:
    """The most workers that leave one node a whole CPU, to read on, wherever Ray puts them. nodes: CPUs of each."""
    each = pipeline.cpus_of(threads)
    leave_none = sum(int((cpus - 1) / each) + 1 for cpus in nodes if cpus >= 1)
    return max(0, min(leave_none - 1, sum(int(cpus / each) for cpus in nodes)))


def source_of(src: str) -> Dataset | list[Source]:
    if not src.lower().endswith(".zip") and manifest.generations(storage.absolute(src)):
        return open_dataset(src)
    return list_studies(src).studies


def items_of(source: Dataset | list[Source], key: bytes) -> tuple[list[Item], Dataset | None]:
    """Every study, in its order."""
    if isinstance(source, Dataset):
        return items_in(source), source
    return [Item(keyed(key, "study", study.name), study.position, keyed(key, "version", version_now(study)), study)
            for study in source], None


def items_in(dataset: Dataset) -> list[Item]:
    """Its rows."""
    columns = (dataset.index[name].to_pylist() for name in ("study", "source", "given"))
    return [Item(study, row + 1, f"{source}{given}", row)
            for row, (study, source, given) in enumerate(zip(*columns, strict=True))]


def _made(predictor: Predictor, settings: Predict, key: str) -> Made:
    """What decides the numbers, to the last bit."""
    how = settings.model_dump(include={"device", "precision", "batch", "threads"})
    intervals = hashlib.sha256(json.dumps(predictor.intervals, sort_keys=True).encode()).hexdigest()
    return {**how, "weights": predictor.weights_sha256, "intervals": intervals, "lvray": lvray.__version__,
            "torch": torch.__version__, "key": key}


def _known(out: str, work: str, made: Made, items: Sequence[Item], masks: bool) -> dict[str, Outcome]:
    """What earlier runs found, of studies that are as they were then. UseError: see `outcomes.standing`."""
    standing, versions = outcomes.standing(out, made), seen.read(out)
    found = {study: Outcome(versions.get(study, ""), what) for study, what in standing.items()
             if not (isinstance(what, Reject) and what.reason in RETRIED)}
    found |= outcomes.recall(work)
    there = {entry.name for entry in storage.list_entries(storage.join(out, MASKS), "the masks", missing_ok=True)}
    return {item.study: _now(one, item) for item in items
            if (one := found.get(item.study)) is not None and one.version == item.version
            and (not masks or isinstance(one.found, Reject) or outcomes.mask_name(item.study) in there)}


def _now(outcome: Outcome, item: Item) -> Outcome:
    """A refused study where it stands in the listing now."""
    if not isinstance(outcome.found, Reject):
        return outcome
    return replace(outcome, found=replace(outcome.found, position=item.position))


def _predict(todo: Sequence[Item], plan: Plan, predictor: Predictor, known: dict[str, Outcome], work: str, of: int,
             progress: Progress) -> None:
    """Add the outcomes of `todo` to `known`, setting them aside as they come."""
    waiting: list[Outcome] = []
    refused = sum(isinstance(one.found, Reject) for one in known.values())
    progress(len(known), of, refused)
    if not todo:
        return
    for one in pipeline.outcomes(todo, plan, predictor):
        known[one.study] = one
        waiting.append(one)
        refused += isinstance(one.found, Reject)
        if len(waiting) == plan.settings.flush:
            outcomes.stage(work, waiting)
            waiting = []
        progress(len(known), of, refused)


def _publish(out: str, items: Sequence[Item], known: dict[str, Outcome], made: Made, masks: bool) -> int:
    """Write the tables, in the order of the listing -> how many studies are refused."""
    if len(known) != len(items):
        raise LvrayError(f"{len(items)} studies, but {len(known)} outcomes")
    found = [known[item.study].found for item in items]
    refused = sum(isinstance(one, Reject) for one in found)
    if masks:
        outcomes.describe_masks(out, len(found) - refused)
    outcomes.publish(out, found, made)
    seen.write(out, {item.study: item.version for item in items})
    storage.delete_tree(storage.join(out, FOLDER), "the parts")
    return refused
