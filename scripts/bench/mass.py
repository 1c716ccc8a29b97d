"""The masks of a data set held against the masses that the phantoms were built with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from lvray.cmr import mass
from lvray.cmr.phantom.heart import mass_g
from lvray.shards.dataset import Dataset
from lvray.shards.identity import keyed
from lvray.shards.stream import scan
from scripts.bench.cohort import Cohort, zip_name
from scripts.bench.ways import KEY


@dataclass(frozen=True)
class Masses:
    """outlined: participants whose InlineVF drew anything. mask, shares: errors in percent of the true mass, from the
    voxels of the row's mask, and from the row's InlineVF mass, which counts parts of voxels."""

    outlined: int
    mask: list[float]
    shares: list[float]


def check(dataset: Dataset, cohort: Cohort) -> Masses:
    """Of every row that has a mask. The true mass is the heart's own, at the true outlines of the imaged slices."""
    subjects = {keyed(KEY, "study", zip_name(subject)): subject for subject in cohort.participants}
    found = Masses(sum(subject.person.inlinevf != "absent" for subject in cohort.participants), [], [])
    for _, row in scan(dataset, np.arange(dataset.index.num_rows)):
        if row.mask is not None and row.inlinevf_g is not None:
            true = mass_g(subjects[row.study].heart)
            found.mask.append(100 * (mass.grams(row.mask, row.spacing) / true - 1))
            found.shares.append(100 * (row.inlinevf_g / true - 1))
    return found


def median_and_worst(errors: Sequence[float]) -> tuple[float, float]:
    """Of their sizes."""
    sizes = [abs(error) for error in errors]
    return median(sizes), max(sizes)
