"""A data set of generated hearts (cmr/generated), a Ray task a heart. Killed, the same command goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa

import lvray
from lvray.cmr.generated.sample import sample
from lvray.cmr.mass import grams
from lvray.cmr.quality import Flag
from lvray.errors import UseError
from lvray.jobs.in_order import in_order
from lvray.settings import Tensorize
from lvray.shards import manifest, parts, storage, writer
from lvray.shards.identity import Kind, fingerprint, keyed
from lvray.shards.manifest import Manifest
from lvray.shards.parts import Overtaken
from lvray.shards.schema import VERSION, Row, to_arrow
from lvray.shards.splits import split_of

KEY = b"of hearts that nobody has, so no secret"
"""The same for all, so that a seed gives the same hashes, splits and bytes everywhere."""


@dataclass(frozen=True)
class Todo:
    """A heart to be made. part: what its row is called; staged: an earlier run has set one aside."""

    number: int
    part: str
    staged: bool


def generate(uri: str, hearts: int, seed: int, settings: Tensorize, progress: Callable[[int, int], None]) -> Manifest:
    """Make a data set of hearts 0 to `hearts` - 1 of the series `seed` and publish it; Ray must be running.

    Only splits, group_rows and shard_mb of the settings count. UseError: a data set stands there. EnvironmentFault.
    """
    uri = storage.absolute(uri)
    storage.preflight(uri, write=True, what="the data set")
    if manifest.generations(uri):
        raise UseError("--out holds a data set already: choose another place")
    work = storage.join(uri, f"{parts.FOLDER}/{made_with(settings)}")
    staged = {entry.name for entry in storage.list_entries(work, "the parts", missing_ok=True)}
    todo = [Todo(number, name, name in staged) for number in range(hearts) for name in [part(seed, number)]]
    notes = []
    progress(0, hearts)
    for done, note in enumerate(in_order(_one, todo, (work, seed, settings)), 1):
        notes.append(note)
        progress(done, hearts)
    made = writer.write(uri, work, pa.concat_tables(notes).combine_chunks(), [], studies=hearts, key=fingerprint(KEY),
                        settings=settings, do=lambda orders: in_order(_shard, orders, None))
    if not manifest.publish(uri, made):
        raise Overtaken("another run published to the same place first")
    storage.delete_tree(storage.join(uri, parts.FOLDER), "the parts")
    return made


def row(seed: int, number: int, settings: Tensorize) -> Row:
    """A generated heart as a row: its mask is exact, and the manual mass is that of the mask."""
    heart = sample(seed, number)
    participant = _hash("participant", seed, number)
    return Row(
        participant=participant, study=_hash("study", seed, number), source=_hash("source", seed, number),
        given=keyed(KEY, "given", ""), split=split_of(participant, settings.splits), image=heart.image, mask=heart.mask,
        mask_source="expert", spacing=heart.spacing, affine=heart.affine, heart_yx=heart.heart_yx, ed_phase=1,
        manual_g=grams(heart.mask, heart.spacing), flags=(str(Flag.PHANTOM),))


def made_with(settings: Tensorize) -> str:
    """What a folder of parts is called: another lvray, or other settings, may make other rows."""
    return keyed(KEY, "work", f"{VERSION} {lvray.__version__} {settings.model_dump_json()}")[:12]


def part(seed: int, number: int) -> str:
    """What a heart's part is called."""
    return parts.name(_hash("study", seed, number), _hash("version", seed, number))


def _one(todo: Todo, shared: tuple[str, int, Tensorize]) -> pa.Table:
    """In a Ray task: a heart's note."""
    work, seed, settings = shared
    if todo.staged:
        with suppress(Overtaken):
            return parts.recall(work, todo.part)
    return parts.stage(work, todo.part, to_arrow([row(seed, todo.number, settings)]))


def _shard(order: writer.Order, nothing: None) -> manifest.Part:
    """In a Ray task."""
    return writer.write_shard(order)


def _hash(kind: Kind, seed: int, number: int) -> str:
    return keyed(KEY, kind, f"generated {seed} {number}")
