"""How often lvray calls an estimate not trustworthy: of wrong studies, where it should, and of good ones."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from lvray.cmr.archive import zip_members
from lvray.cmr.geometry import Turn
from lvray.cmr.heart import find_heart
from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write_participant
from lvray.cmr.quality import Flag
from lvray.cmr.study import read_cine
from lvray.errors import StudyRefused
from lvray.estimate import View, predicted, view
from lvray.nets.predict import Predictor
from lvray.shards.dataset import open_dataset, select
from lvray.shards.stream import scan
from scripts.weights.wrong import Spacing, wrong

Found = tuple[str, bool, float | None]
"""Kind, whether it was called not trustworthy or refused, and the views' agreement."""


def wrong_ones(predictor: Predictor, seed: int, many: int, data: str | None) -> Iterator[Found]:
    """Straight to the network: the reader, which refuses most of them, is not asked."""
    for study in wrong(seed, many, data):
        yield _found(predictor, study.kind, _view(study.images, study.spacing))


def good_ones(predictor: Predictor, seed: int, many: int, data: str | None) -> Iterator[Found]:
    """Phantoms from their DICOM, of few phases to save time, and generated hearts of the holdout."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(many):
            file = write_participant(Path(folder), seed, number, PhantomOptions(phases=4))
            with file.open("rb") as opened:
                seen = view(read_cine(zip_members(opened)))
            yield _found(predictor, "phantom", seen)
            file.unlink()
    if data is not None:
        dataset = open_dataset(data)
        for _, row in scan(dataset, select(dataset, ["holdout"])):
            seen = replace(_view(row.image[None], row.spacing, row.heart_yx), affine=row.affine)
            yield _found(predictor, "generated", seen)


def counted(found: Iterator[Found]) -> dict[str, dict[str, Any]]:
    """By kind: how many, how many flagged, with the exact 95 % interval of the share, and the agreements' range."""
    kinds: dict[str, list[Found]] = defaultdict(list)
    for one in found:
        kinds[one[0]].append(one)
    kinds["all"] = [one for ones in list(kinds.values()) for one in ones]
    return {kind: _count(ones) for kind, ones in kinds.items()}


def _count(ones: list[Found]) -> dict[str, Any]:
    flagged = sum(is_flagged for _, is_flagged, _ in ones)
    interval = binomtest(flagged, len(ones)).proportion_ci(method="exact")
    agreements = [agreement for _, _, agreement in ones if agreement is not None]
    return {"n": len(ones), "flagged": flagged, "interval": [float(interval.low), float(interval.high)],
            "agreement": [float(q) for q in np.quantile(agreements, (0, 0.05, 0.5, 0.95, 1))] if agreements else None}


def _found(predictor: Predictor, kind: str, seen: View) -> Found:
    drawn = predictor.segment(seen.image, seen.spacing, seen.centre_yx, seen.tilt)
    try:
        return kind, Flag.NOT_TRUSTWORTHY in predicted(seen, drawn, predictor).quality, drawn.agreement
    except StudyRefused:
        return kind, True, drawn.agreement


def _view(images: NDArray[Any], spacing: Spacing, centre_yx: tuple[float, float] | None = None) -> View:
    """As a study is seen whose first phase is ED."""
    heart = find_heart(images, spacing[1:]) if centre_yx is None else None
    flags = {Flag.HEART_NOT_FOUND} if heart is not None and not heart.found else set()
    if centre_yx is None and heart is not None:
        rows, columns = images.shape[2:]
        centre_yx = heart.centre_yx if heart.found else ((rows - 1) / 2, (columns - 1) / 2)
    return View(images[0], spacing, centre_yx, Turn(False, False, False), np.diag([*spacing, 1.0]), 0, (),
                frozenset(flags), None, None, None)
