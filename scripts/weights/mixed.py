"""Real patients among generated hearts, to go on with: so that what was learnt from those is not lost.

How many of each, how long and how fast is fixed here: set after two looks at the patients (LOOKS.md), before the
leave-one-out whose figures are published, and not touched since.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from lvray.jobs import generate
from lvray.recipes import named
from lvray.settings import Tensorize
from lvray.shards import manifest, parts, storage, writer
from lvray.shards.identity import fingerprint, keyed
from lvray.shards.schema import Row, to_arrow
from scripts.weights.patients import Patient

RECIPE = "own_seg"
COPIES, GENERATED, SEED = 24, 168, 5
"""Rows of each patient, which augmentation makes unlike; generated hearts beside them, of a series of their own."""
CHANGES = ("optimiser.lr=3e-4", "optimiser.gamma=0.7", "epochs=8")
SETTINGS = Tensorize()


def write(folder: Path, patients: Sequence[Patient]) -> None:
    """The data set, in an order that mixes them; nothing where it is there already. Of one lvray: a folder of another's
    keeps that one's rows."""
    if (folder / manifest.name(1)).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    hearts = (replace(generate.row(SEED, number, SETTINGS), split="train") for number in range(GENERATED))
    rows = [*hearts, *(row for patient in patients for row in _rows(patient))]
    work = str(folder / parts.FOLDER)
    notes = [parts.stage(work, parts.name(row.study, row.source), to_arrow([row]))
             for row in (rows[at] for at in np.random.default_rng(0).permutation(len(rows)))]
    made = writer.write(str(folder), work, pa.concat_tables(notes).combine_chunks(), [], studies=len(notes),
                        key=fingerprint(generate.KEY), settings=SETTINGS)
    manifest.publish(str(folder), made)
    storage.delete_tree(work, "the parts")


def _rows(patient: Patient) -> Iterator[Row]:
    """Of a stack that the network's box cannot hold, as many slices as it can, from another one on each time."""
    image = patient.image if patient.image.dtype == np.float32 else patient.image.astype(np.int16)
    most = named(RECIPE).network.box[0]
    for copy in range(COPIES):
        called = f"{patient.name} {copy}"
        first = copy % max(1, len(image) - most + 1)
        slices = slice(first, first + most)
        yield Row(participant=keyed(generate.KEY, "participant", patient.name),
                  study=keyed(generate.KEY, "study", called), source=keyed(generate.KEY, "source", called),
                  given=keyed(generate.KEY, "given", called), split="train", image=image[slices],
                  mask=patient.mask[slices], mask_source="expert", spacing=patient.spacing,
                  affine=patient.affine, heart_yx=patient.centre_yx, ed_phase=1,
                  manual_g=patient.grams)
