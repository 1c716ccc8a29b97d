"""The tensorize job: a listing of studies to a data set, one Ray task a study. It may be killed at any time.

    DST/.lvray-work/    a part for each study that is done, until a manifest lists it (shards/parts.py)
    DST/*.parquet       shards, index and rejects, named by their content and written once
    DST/manifest-*.json commits them (shards/manifest.py)
    DST/seen.parquet    a hint for the next run (shards/seen.py)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

import lvray
from lvray import console
from lvray.errors import EnvironmentFault, Reason, StudyRefused, UseError
from lvray.jobs.cluster import cluster
from lvray.jobs.guard import bounded
from lvray.jobs.in_order import RETRIES, in_order
from lvray.settings import Tensorize
from lvray.shards import given, manifest, parts, seen, storage, writer
from lvray.shards.convert import Context, convert, reject
from lvray.shards.dataset import Dataset, check_sizes, open_dataset, rejects
from lvray.shards.identity import fingerprint, keyed
from lvray.shards.labels import Label, read_labels
from lvray.shards.listing import Source, check_apart, list_studies
from lvray.shards.manifest import Manifest
from lvray.shards.parts import NOTE, Overtaken
from lvray.shards.schema import VERSION, Reject
from lvray.shards.standing import known_studies, plan, settle
from lvray.shards.studies import open_study

OVERTAKEN_TIMES = 10
"""Runs at once into one place that may publish before this one."""
TOGETHER = 512
"""Notes of rows kept as tables of this many lines, not one by one."""

Progress = Callable[[int, int, int], None]
"""(studies done, of how many, refused so far)."""


@dataclass(frozen=True)
class Outcome:
    """manifest: of the data set as it stands now. read: studies read by this run; refused: those refused of them.

    absent: studies of the data set that SRC does not have (any more); their rows stay.
    """

    manifest: Manifest
    read: int
    refused: int
    absent: int


@dataclass(frozen=True)
class Todo:
    """A study to be read. part: what its outcome is called; staged: an earlier run has set one aside."""

    source: Source
    part: str
    staged: bool


def tensorize(src: str, dst: str, *, key: bytes, settings: Tensorize, labels: str | None = None,
              contours: Path | None = None, link: Path | None = None, splits: str | None = None,
              progress: Progress = lambda done, of, refused: None) -> Outcome:
    """Read every study under `src` that the data set at `dst` does not have yet, and publish it; starts Ray if need be.

    labels: URI of the TSV, `src`/labels.tsv where that exists. contours, link: a folder of text contours and the CSV
    (study name, contour folder) that says whose they are. splits: URI of a CSV (participant id, split); who is not
    listed is placed by hash. UseError, EnvironmentFault: before any work starts, or where rows of `dst` are of other
    settings, images, labels or contours. Refused studies are in the rejects table.
    """
    ready = _ready(src, dst, labels, contours, link, splits)
    studies, dst = ready.studies, storage.absolute(dst)
    context = Context(key, settings, given.hashed(key, ready.labels, ready.splits, ready.contours))
    with ExitStack() as stack:
        for _ in range(OVERTAKEN_TIMES):
            try:
                return _attempt(studies, dst, context, lambda: stack.enter_context(cluster()), progress)
            except Overtaken:
                continue
    raise Overtaken("others keep publishing to the same DST; let one run finish")


def check(src: str, dst: str, *, settings: Tensorize, labels: str | None, contours: Path | None, link: Path | None,
          splits: str | None) -> None:
    """UseError, EnvironmentFault: as `tensorize`, as far as that is seen without Ray and the key."""
    _ready(src, dst, labels, contours, link, splits)
    _standing(storage.absolute(dst), settings)


@dataclass(frozen=True)
class _Ready:
    """The studies, and what is known of them: labels and splits by participant's id, contours by study's name."""

    studies: list[Source]
    labels: Mapping[str, Label] = field(repr=False)
    splits: Mapping[str, str] = field(repr=False)
    contours: Mapping[str, Path] = field(repr=False)


def _ready(src: str, dst: str, labels: str | None, contours: Path | None, link: Path | None,
           splits: str | None) -> _Ready:
    check_apart(src, dst, "DST")
    studies = list_studies(src).studies
    storage.preflight(dst, write=True, what="DST")
    listed = given.read_splits(splits) if splits is not None else {}
    ready = _Ready(studies, _labels(src, labels), listed, _contours(contours, link, studies))
    _say_matches(ready)
    return ready


def _attempt(studies: list[Source], dst: str, context: Context, start_ray: Callable[[], None],
             progress: Progress) -> Outcome:
    """One generation. Overtaken: another run published first."""
    standing = _standing(dst, context.settings, context.key)
    known = known_studies(standing) if standing else {}
    planned = plan(studies, context, known, seen.read(dst) if standing else {})
    new = list(planned.new)
    if new or planned.doubtful:
        start_ray()
    if planned.doubtful:
        checksums = in_order(_checksum, planned.doubtful, context.key)
        new += settle(zip(planned.doubtful, checksums, strict=True), context, known)
        new.sort(key=lambda source: source.position)
    if standing and not new:
        made, refused = standing.manifest, 0
    else:
        made, refused = _generation(new, dst, context, standing, planned.versions, progress)
    seen.write(dst, planned.versions)
    storage.delete_tree(storage.join(dst, parts.FOLDER), "the parts")
    return Outcome(made, len(new), refused, planned.absent)


def _generation(new: list[Source], dst: str, context: Context, standing: Dataset | None, versions: dict[str, str],
                progress: Progress) -> tuple[Manifest, int]:
    """Read the new studies and publish a manifest that lists them too -> it, and how many of them were refused."""
    made_with = f"{VERSION} {lvray.__version__} {context.settings.model_dump_json()}"
    work = storage.join(dst, f"{parts.FOLDER}/{keyed(context.key, 'work', made_with)[:12]}")
    before = {r.study: r for r in _refused(standing)}
    notes, refused = _read(list(_todo(new, work, context.key, versions)), work, context, progress)
    again = {keyed(context.key, "study", source.name) for source in new}
    if standing and not notes.num_rows and all(_same(r, before.get(r.study)) for r in refused):
        return standing.manifest, len(refused)
    kept = [r for r in before.values() if r.study not in again]
    rows = standing.index.num_rows if standing else 0
    made = writer.write(dst, work, notes, [*kept, *refused], studies=rows + len(kept) + len(new),
                        key=fingerprint(context.key), settings=context.settings, standing=standing,
                        do=lambda orders: in_order(_shard, orders, None))
    if not manifest.publish(dst, made):
        raise Overtaken("another run published to the same place first")
    return made, len(refused)


def _same(reject: Reject, before: Reject | None) -> bool:
    """Whether a study was refused for the same before, wherever in the listing it was."""
    return before is not None and reject == replace(before, position=reject.position)


def _read(todo: list[Todo], work: str, context: Context, progress: Progress) -> tuple[pa.Table, list[Reject]]:
    """The notes (parts.NOTE) and rejects of every study, in the order given."""
    together, single = [NOTE.empty_table()], []
    refused: list[Reject] = []

    def given_up(item: Todo) -> Reject:
        detail = f"its reader died {RETRIES + 1} times, or took more than {context.settings.study_seconds} s"
        return reject(item.source, context, Reason.GAVE_UP, detail, None)

    progress(0, len(todo), 0)
    for done, outcome in enumerate(in_order(_study, todo, (work, context), given_up), 1):
        if isinstance(outcome, Reject):
            refused.append(outcome)
        else:
            single.append(outcome)
        if len(single) == TOGETHER or done == len(todo):
            together.append(pa.concat_tables([*single, NOTE.empty_table()]).combine_chunks())
            single.clear()
        progress(done, len(todo), len(refused))
    return pa.concat_tables(together), refused


def _study(item: Todo, shared: tuple[str, Context]) -> pa.Table | Reject:
    """In a Ray task: a study's note, or its reject; from an earlier run's part where there is one."""
    work, context = shared
    try:
        if item.staged and (found := _recalled(item, work, context)) is not None:
            return found
        with bounded(context.settings.study_seconds):
            return parts.stage(work, item.part, convert(item.source, context))
    except MemoryError:
        return reject(item.source, context, Reason.TOO_LARGE, "its row takes absurdly much memory", None)
    except EnvironmentFault as e:
        raise EnvironmentFault(f"study {item.source.position}: {e}") from e


def _recalled(item: Todo, work: str, context: Context) -> pa.Table | Reject | None:
    """None where the part has gone, or was made with another label or contours."""
    try:
        found = parts.recall(work, item.part)
    except Overtaken:
        return None
    participant, made_with = ((None, found.given) if isinstance(found, Reject) else
                              (found["participant"][0].as_py(), found["given"][0].as_py()))
    if made_with != context.given.digest(context.key, item.source.name, participant):
        return None
    return replace(found, position=item.source.position) if isinstance(found, Reject) else found


def _checksum(source: Source, key: bytes) -> str | None:
    """In a Ray task: the keyed checksum of a study's bytes, None where they cannot be read."""
    try:
        with open_study(source) as study:
            return keyed(key, "source", study.sha256())
    except StudyRefused:
        return None


def _shard(order: writer.Order, nothing: None) -> manifest.Part:
    """In a Ray task."""
    return writer.write_shard(order)


def _todo(new: Iterable[Source], work: str, key: bytes, versions: dict[str, str]) -> Iterator[Todo]:
    staged = {entry.name for entry in storage.list_entries(work, "the parts", missing_ok=True)}
    for source in new:
        study = keyed(key, "study", source.name)
        part = parts.name(study, versions[study])
        yield Todo(source, part, part in staged)


def _standing(dst: str, settings: Tensorize, key: bytes | None = None) -> Dataset | None:
    """The data set that stands at DST. KeyMismatch where another key than the given one made it, UseError where rows
    made with these settings would not be like those in it."""
    if not manifest.generations(dst):
        return None
    standing = open_dataset(dst)
    if key is not None:
        manifest.check_key(standing.manifest, fingerprint(key))
    check_sizes(standing)
    manifest.check_made_alike(standing.manifest, settings, lvray.__version__)
    return standing


def _refused(standing: Dataset | None) -> list[Reject]:
    return [Reject(**line) for line in rejects(standing).to_pylist()] if standing else []


def _labels(src: str, labels: str | None) -> dict[str, Label]:
    if labels is None:
        labels = storage.join(src, "labels.tsv")
        if src.endswith(".zip") or not storage.exists(labels, "the labels"):
            return {}
    return read_labels(labels)


def _say_matches(ready: _Ready) -> None:
    """How many of those listed are there, where names tell it. UseError: nobody, as with the ids of another column."""
    named = [source.participant_and_visit() for source in ready.studies]
    people = {who[0] for who in named if who}
    for what, listed in (("labels", ready.labels), ("--splits", ready.splits)):
        if listed and all(named):
            found = len(listed.keys() & people)
            console.say(f"{what}: {found} of {len(listed)} participants are in SRC")
            if not found:
                raise UseError(f"{what}: none of the ids is of a participant in SRC; is it the right column?")


def _contours(folder: Path | None, link: Path | None, studies: list[Source]) -> dict[str, Path]:
    if (folder is None) != (link is None):
        raise UseError("--contours DIR and --link CSV go together: the CSV says which study each contour folder is of")
    if folder is None or link is None:
        return {}
    linked = given.read_link(folder, link)
    found = given.of_these(linked, [source.name for source in studies])
    console.say(f"--link: {len(found)} of {len(linked)} lines name a study of SRC")
    return found
