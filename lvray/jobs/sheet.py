"""The contact sheet of a data set: the middle slice of its first studies, with their outlines."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lvray.errors import EnvironmentFault, UseError
from lvray.evidence.figures import Study, contact_sheet
from lvray.shards.dataset import open_dataset
from lvray.shards.stream import scan

MOST = 48


def write_sheet(uri: str, file: Path) -> None:
    """UseError: an empty data set. EnvironmentFault: the file cannot be written."""
    dataset = open_dataset(uri)
    rows = np.arange(min(MOST, dataset.index.num_rows))
    if not len(rows):
        raise UseError("the data set has no rows to show")
    studies = [Study(row.study[:8], row.image, row.spacing, row.mask) for _, row in scan(dataset, rows)]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contact_sheet(studies))
    except OSError as e:
        raise EnvironmentFault(f"cannot write the contact sheet: {e.strerror}") from e
