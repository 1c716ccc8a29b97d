"""How the demo's segmenter does on real hearts, where the samples are at hand: an honest look, however poor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lvray.cmr.archive import folder_members
from lvray.cmr.ed import end_diastole
from lvray.cmr.geometry import canonical, tilt
from lvray.cmr.mass import grams
from lvray.cmr.measure import measure, text_outlines
from lvray.cmr.study import read_cine
from lvray.jobs.estimates import fetch
from lvray.shards.given import read_link


def dice_lines(samples: Path, checkpoint: str) -> Iterator[str]:
    """A line for each study of `samples` whose wall an expert outlined, at the expert's ED.

    samples: dicom/STUDY, contours/FOLDER and link.csv (study, folder), as in the Sunnybrook Cardiac Data.
    """
    predictor = fetch(checkpoint)
    for name, folder in read_link(samples / "contours", samples / "link.csv").items():
        cine = read_cine(folder_members(samples / "dicom" / name))
        expert = measure(cine, text_outlines(cine, folder))
        if expert.mass_g is None:
            continue
        seen = end_diastole(cine, expert.phase).canonical()
        mask = predictor.segment(seen.volume.image, seen.volume.spacing, seen.centre_yx, tilt(seen.volume.affine)).mask
        truth = canonical(cine.affine).apply(expert.mask)
        cavity, wall = (2 * np.sum((mask == k) & (truth == k)) / (np.sum(mask == k) + np.sum(truth == k))
                        for k in (1, 2))
        yield (f"a real heart: Dice of the cavity {cavity:.2f}, of the myocardium {wall:.2f};"
               f" {grams(mask, cine.spacing):.0f} g where the expert has {expert.mass_g:.0f} g")
