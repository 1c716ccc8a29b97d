"""Tensorize from S3 to S3: cohorts of growing size, their time, what they read, and what their workers take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lvray.jobs.cluster import cluster
from lvray.jobs.tensorize import tensorize
from lvray.settings import Tensorize
from lvray.shards import s3, storage
from lvray.shards.dataset import open_dataset
from scripts.bench import watch
from scripts.bench.cohort import Cohort
from scripts.bench.ways import KEY
from scripts.bench.weed import Traffic

SRC, DST = "src", "dst"
"""Buckets: the server counts what it sends by bucket."""


@dataclass(frozen=True)
class Run:
    """One job. seconds: wall time; sent, per study: bytes that the store sent of SRC; peak: bytes of the largest
    worker."""

    studies: int
    rows: int
    rejects: int
    seconds: float
    sent: float
    peak: int


def src(studies: int) -> str:
    return f"s3://{SRC}/cohort-{studies}"


def dst(studies: int) -> str:
    return f"s3://{DST}/cohort-{studies}"


def sizes(studies: int) -> list[int]:
    """An eighth, a quarter, a half and the whole."""
    return sorted({max(1, studies // part) for part in (8, 4, 2, 1)})


def upload(cohort: Cohort, progress: Callable[[str], None]) -> None:
    """The first participants under a prefix a size: sent once, copied within the store for the smaller ones."""
    *smaller, all_of_them = sizes(len(cohort.participants))
    client = s3.clients().boto3
    there = {studies: {e.name: e.size for e in storage.list_entries(src(studies), "the cohort", missing_ok=True)}
             for studies in sizes(all_of_them)}
    for number, path in enumerate([*cohort.zips, cohort.folder / "labels.tsv"]):
        key = f"cohort-{all_of_them}/{path.name}"
        if there[all_of_them].get(path.name) != path.stat().st_size:
            client.upload_file(str(path), SRC, key)
            if path.suffix == ".zip":
                progress(f"upload: {number + 1} of {all_of_them}")
        for studies in smaller:
            wanted = number < studies or path.suffix != ".zip"
            if wanted and there[studies].get(path.name) != path.stat().st_size:
                client.copy_object(Bucket=SRC, Key=f"cohort-{studies}/{path.name}", CopySource=f"{SRC}/{key}")


def grow(studies: int, weed: Traffic, progress: Callable[[str], None]) -> list[Run]:
    """A job a size on one running Ray, after one that warms it up."""
    with cluster():
        _run(sizes(studies)[0], weed, progress)
        return [_run(size, weed, progress) for size in sizes(studies)]


def straight(runs: Sequence[Run]) -> tuple[float, float, float]:
    """Seconds before the first study, seconds a study, and by what share a run is furthest off that line.

    Least squares of the shares, so that small runs count as much as large ones.
    """
    size, seconds = (np.array([getattr(run, name) for run in runs], float) for name in ("studies", "seconds"))
    slope, start = np.polyfit(size, seconds, 1, w=1 / seconds)
    return float(start), float(slope), float(np.abs((start + slope * size) / seconds - 1).max())


def _run(studies: int, weed: Traffic, progress: Callable[[str], None]) -> Run:
    storage.delete_tree(dst(studies), "the last bench's data set")
    sent, began = weed.sent(SRC), time.perf_counter()

    def tell(done: int, of: int, refused: int) -> None:
        if done == of or done % 10 == 0:
            progress(f"{of} studies: {done} read, {refused} refused")

    with watch.workers() as peaks:
        tensorize(src(studies), dst(studies), key=KEY, settings=Tensorize(), progress=tell)
    seconds = time.perf_counter() - began
    made = open_dataset(dst(studies)).manifest
    rows = sum(shard.rows for shard in made.shards)
    assert rows + made.rejects.rows == made.studies == studies, "a study is lost"
    return Run(studies, rows, made.rejects.rows, seconds, (weed.sent(SRC) - sent) / studies, max(peaks.values()))
