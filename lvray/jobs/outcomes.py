"""What becomes of the studies of a cohort that is predicted: parts while the job runs, two tables in the end.

    <out>/estimates.parquet   one row a study; its metadata say what made it
    <out>/rejects.parquet     one row a refused study (shards/schema.py, REJECTS)
    <out>/seen.parquet        a hint for the next run (shards/seen.py)
    <out>/masks/              with --masks: <study>.nii.gz, and dataset.json as nnU-Net v2 writes it
    <out>/.lvray-work/        outcomes as they come, in lines of JSON, until the tables stand
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lvray.errors import UseError
from lvray.shards import storage
from lvray.shards.parts import FOLDER, read_parquet
from lvray.shards.schema import REJECTS, Reject

MADE = b"lvray.made"
MASKS = "masks"
NNUNET = {"channel_names": {"0": "cine MR at end diastole"},
          "labels": {"background": 0, "cavity": 1, "myocardium": 2}, "file_ending": ".nii.gz"}
ESTIMATES = pa.schema([
    pa.field("study", pa.string(), nullable=False),
    pa.field("participant", pa.string(), nullable=False),
    pa.field("visit", pa.int32()),
    pa.field("mass_g", pa.float64(), nullable=False),
    pa.field("centred_g", pa.float64()),
    pa.field("interval_low_g", pa.float64()),
    pa.field("interval_high_g", pa.float64()),
    pa.field("lvmi_g_m2", pa.float64()),
    pa.field("edv_ml", pa.float64()),
    pa.field("ed_phase", pa.int32(), nullable=False),
    pa.field("slices", pa.int32(), nullable=False),
    pa.field("spacing_mm", pa.list_(pa.float64(), 3), nullable=False),
    pa.field("cavity_mm2", pa.list_(pa.float64())),
    pa.field("myocardium_mm2", pa.list_(pa.float64())),
    pa.field("agreement", pa.float64()),
    pa.field("quality", pa.list_(pa.string()), nullable=False),
    pa.field("method", pa.string(), nullable=False),
    pa.field("network", pa.string(), nullable=False),
    pa.field("weights_sha256", pa.string(), nullable=False),
    pa.field("versions", pa.string(), nullable=False),
])
"""mass_g: raw; centred_g: less the network's bias, where the checkpoint has intervals, which lie around it. network and
versions as JSON; areas by slice, base to apex, null for a regressor."""

Made = Mapping[str, str | int]
"""What decides the numbers: weights, precision, versions, ..."""


@dataclass(frozen=True)
class Outcome:
    """Of one study: a row of ESTIMATES, or a Reject. version: of its files when they were read."""

    version: str
    found: dict[str, Any] | Reject

    @property
    def study(self) -> str:
        return self.found.study if isinstance(self.found, Reject) else str(self.found["study"])


def work_of(out: str, made: Made) -> str:
    """Where the parts of a job lie: those that another checkpoint or setting made are not looked at."""
    return storage.join(out, f"{FOLDER}/{hashlib.sha256(_json(made)).hexdigest()[:12]}")


def stage(work: str, outcomes: Sequence[Outcome]) -> None:
    """Set some outcomes aside. A part appears whole or not at all."""
    lines = [json.dumps([o.version, "reject" if isinstance(o.found, Reject) else "estimate",
                         asdict(o.found) if isinstance(o.found, Reject) else o.found]) for o in outcomes]
    data = "\n".join(lines).encode()
    storage.write_atomic(storage.join(work, f"{hashlib.sha256(data).hexdigest()[:16]}.jsonl"), data, "a part")


def recall(work: str) -> dict[str, Outcome]:
    """Everything that was staged, by study."""
    found = {}
    for entry in storage.list_entries(work, "the parts", missing_ok=True):
        for line in storage.read_bytes(storage.join(work, entry.name), "a part").splitlines():
            version, kind, what = json.loads(line)
            outcome = Outcome(version, Reject(**what) if kind == "reject" else what)
            found[outcome.study] = outcome
    return found


def standing(out: str, made: Made) -> dict[str, dict[str, Any] | Reject]:
    """The tables of an earlier run, by study; empty where there are none. UseError: others made them."""
    found: dict[str, dict[str, Any] | Reject] = {}
    for name, schema in (("rejects", REJECTS), ("estimates", ESTIMATES)):
        where = storage.join(out, f"{name}.parquet")
        if not storage.exists(where, name):
            return {}
        try:
            table = read_parquet(storage.read_bytes(where, name))
            theirs = json.loads(table.schema.metadata[MADE])
            lines = table.cast(schema).to_pylist()
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise UseError(f"--out holds another {name}.parquet: give another --out, or remove it") from error
        differing = sorted(key for key in {*theirs, *made} if theirs.get(key) != made.get(key))
        if differing:
            raise UseError(f"--out holds estimates made with another {', '.join(differing)}: give another --out")
        found |= {line["study"]: Reject(**line) if schema is REJECTS else line for line in lines}
    return found


def publish(out: str, found: Iterable[dict[str, Any] | Reject], made: Made) -> None:
    """Write the tables, in the order given."""
    both: dict[str, list[dict[str, Any]]] = {"rejects": [], "estimates": []}
    for one in found:
        if isinstance(one, Reject):
            both["rejects"].append(asdict(one))
        else:
            both["estimates"].append(one)
    for name, schema in (("rejects", REJECTS), ("estimates", ESTIMATES)):
        table = pa.Table.from_pylist(both[name], schema.with_metadata({**(schema.metadata or {}), MADE: _json(made)}))
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        storage.write_atomic(storage.join(out, f"{name}.parquet"), sink.getvalue(), name)


def describe_masks(out: str, masks: int) -> None:
    """dataset.json beside the masks."""
    storage.write_atomic(storage.join(out, f"{MASKS}/dataset.json"), _json({**NNUNET, "numTraining": masks}),
                         "dataset.json")


def mask_name(study: str) -> str:
    return f"{study}{NNUNET['file_ending']}"


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"
