"""Which participants train, and which never do."""

from __future__ import annotations

import hashlib

from lvray.settings import Splits

NAMES = ("train", "validation", "calibration", "holdout")


def split_of(participant: str, splits: Splits) -> str:
    """The split of a participant's keyed hash: a fixed point of [0, 1) by hash and seed, compared with thresholds.

    So repeat visits stay together, and nobody moves when the cohort grows.
    """
    digest = hashlib.sha256(f"{splits.seed}:{participant}".encode()).digest()
    point = int.from_bytes(digest[:8]) / 2**64
    for name, share in (("holdout", splits.holdout), ("calibration", splits.calibration),
                        ("validation", splits.validation)):
        if point < share:
            return name
        point -= share
    return "train"
