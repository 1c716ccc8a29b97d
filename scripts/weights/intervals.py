"""Whether a 90 % interval, split-conformal by generated hearts, holds a patient's mass."""

from __future__ import annotations

from lvray.cmr.geometry import tilt
from lvray.cmr.mass import grams
from lvray.evidence import conformal
from lvray.evidence.conformal import Intervals
from lvray.nets.predict import Predictor
from lvray.shards.dataset import open_dataset, select
from lvray.shards.stream import scan
from scripts.weights.patients import Patient

HEARTS = 60


def fitted(predictor: Predictor, data: str) -> Intervals:
    """Around the raw estimate, by so many of the data set's calibration hearts, fewer where it has not as many."""
    dataset = open_dataset(data)
    estimated, true = [], []
    for _, row in scan(dataset, select(dataset, ["calibration"])[:HEARTS]):
        drawn = predictor.segment(row.image, row.spacing, row.heart_yx, tilt(row.affine))
        estimated.append(grams(drawn.mask, row.spacing))
        assert row.manual_g is not None
        true.append(row.manual_g)
    return conformal.fit(estimated, true, [None] * len(true), method="ML4Hseg", kind="phantom",
                         weights_sha256=predictor.weights_sha256, data=dataset.checksum)


def holds(intervals: Intervals, patient: Patient, error: float) -> bool:
    """Whether the expert's grams lie in the interval of an estimate, of the whole stack, that is off by `error` of
    them. Of a patient whose spacing is only assumed, the grams are too, and the interval's width beside them."""
    true = grams(patient.mask, patient.spacing)
    low, high = intervals.of(true * (1 + error), None)
    return low <= true <= high
