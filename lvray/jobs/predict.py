"""The cohort form of predict: an estimate of every study under a URI, as a Parquet table, and the refused beside it.

    <out>/estimates.parquet   one row a study
    <out>/rejects.parquet     one row a refused study (shards/schema.py, REJECTS)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lvray.cmr.study import read_cine
from lvray.errors import LvrayError, Reason, StudyRefused, internal
from lvray.estimate import predict as predict_study
from lvray.jobs.estimates import fetch, fetched
from lvray.jobs.in_order import in_order
from lvray.shards import storage
from lvray.shards.identity import keyed
from lvray.shards.listing import Source, check_apart, list_studies
from lvray.shards.schema import REJECTS, Reject
from lvray.shards.studies import open_study

ESTIMATES = pa.schema([
    pa.field("study", pa.string(), nullable=False),
    pa.field("participant", pa.string(), nullable=False),
    pa.field("visit", pa.int32()),
    pa.field("mass_g", pa.float64(), nullable=False),
    pa.field("lvmi_g_m2", pa.float64()),
    pa.field("edv_ml", pa.float64()),
    pa.field("ed_phase", pa.int32(), nullable=False),
    pa.field("slices", pa.int32(), nullable=False),
    pa.field("spacing_mm", pa.list_(pa.float64(), 3), nullable=False),
    pa.field("quality", pa.list_(pa.string()), nullable=False),
    pa.field("method", pa.string(), nullable=False),
    pa.field("network", pa.string(), nullable=False),
    pa.field("versions", pa.string(), nullable=False),
])
"""network and versions as JSON."""


@dataclass(frozen=True)
class Context:
    checkpoint: str
    key: bytes = field(repr=False)


def predict_cohort(src: str, out: str, *, checkpoint: str, key: bytes,
                   progress: Callable[[int, int, int], None]) -> tuple[int, int]:
    """Predict every study under `src`; -> (estimated, refused). Ray must be running.

    UseError, CheckpointError, EnvironmentFault: before any work starts.
    """
    check_apart(src, out, "--out")
    studies = list_studies(src).studies
    checkpoint = storage.absolute(checkpoint)
    fetch(checkpoint)
    storage.preflight(out, write=True, what="the output")
    rows: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for done, outcome in enumerate(in_order(_predict, studies, Context(checkpoint, key)), 1):
        if isinstance(outcome, Reject):
            refused.append(asdict(outcome))
        else:
            rows.append(outcome)
        progress(done, len(studies), len(refused))
    if len(rows) + len(refused) != len(studies):
        raise LvrayError(f"{len(studies)} studies, but {len(rows)} estimates and {len(refused)} rejects")
    for name, table in (("rejects", pa.Table.from_pylist(refused, REJECTS)),
                        ("estimates", pa.Table.from_pylist(rows, ESTIMATES))):
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        storage.write_atomic(storage.join(out, f"{name}.parquet"), sink.getvalue().to_pybytes(), name)
    return len(rows), len(refused)


def _predict(source: Source, context: Context) -> dict[str, Any] | Reject:
    study = keyed(context.key, "study", source.name)
    try:
        with open_study(source) as opened:
            cine = read_cine(opened.members)
            estimate = predict_study(cine, fetched(context.checkpoint)).to_dict()
    except StudyRefused as e:
        return Reject(study, source.position, str(e.reason), e.detail, None)
    except LvrayError:
        raise
    except Exception as e:  # one odd study must not end a cohort of thousands
        return Reject(study, source.position, str(Reason.INTERNAL), internal(e), None)
    person, visit = source.participant_and_visit() or (cine.patient or source.name, None)
    kept = {name: value for name, value in estimate.items() if name in ESTIMATES.names}
    return kept | {"study": study, "participant": keyed(context.key, "participant", person), "visit": visit,
                   "network": json.dumps(estimate["network"]), "versions": json.dumps(estimate["versions"])}
