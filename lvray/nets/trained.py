"""What surrounds a trained network's pass: what it is shown of a study, and what it was trained on. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lvray.errors import Reason, StudyRefused
from lvray.nets import box
from lvray.nets.checkpoint import Checkpoint

ROUNDING = 0.01
INTERVALS = "intervals.json"
"""A file beside the weights, of a checkpoint that was calibrated."""

Volume = npt.NDArray[np.generic]
Mask = npt.NDArray[np.uint8]
Spacing = tuple[float, float, float]
Centre = tuple[float, float] | None


def grid_of(pixel_mm: float | None, spacing: Spacing, tilt: float) -> box.Grid | None:
    """Of the box of an image of that (dz, dy, dx) mm, along the patient's axes, which lie turned by the tilt there."""
    return None if pixel_mm is None else box.Grid((pixel_mm / spacing[1], pixel_mm / spacing[2]), tilt)


def spacing_of(pixel_mm: float | None, spacing: Spacing) -> Spacing:
    """(dz, dy, dx) mm of the box."""
    return spacing if pixel_mm is None else (spacing[0], pixel_mm, pixel_mm)


@dataclass(frozen=True)
class Shown:
    """A study as a network sees it: float32 [box], where the box lies in the study's image, and the box's (dz, dy, dx)
    in mm."""

    image: npt.NDArray[np.float32]
    placement: box.Placement
    spacing: Spacing


@dataclass(frozen=True)
class Drawn:
    """A segmenter's answer: mask, uint8 [box] or, put back, [Z, Y, X]; agreement, 0 to 1: how far the views that it is
    averaged from draw the same wall (mean Dice with the mask), None where there is but one; shares, uint8 [2, box], of
    cavity and wall in 255ths, where the box's pixels are not the image's own."""

    mask: Mask
    agreement: float | None = None
    shares: Mask | None = None

    def put_back(self, placement: box.Placement) -> Drawn:
        """In the image's own grid."""
        mask = (box.put_back(self.mask, placement) if self.shares is None else
                box.shares_put_back(self.shares, placement))
        return Drawn(mask, self.agreement)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A network's checkpoint as far as predictions need it beside the weights.

    Images are [Z, Y, X], base first, in the canonical in-plane orientation; spacing is (dz, dy, dx) in mm. `centre_yx`
    is the heart's row and column: needed where `network["centre"]` says "heart", not looked at otherwise. `tilt`: by
    how many radians the patient's left lies turned from the columns toward the rows (cmr/geometry.tilt); of use where
    the network has pixels of its own (`network["pixel_mm"]`), which then lie along the patient's axes.
    """

    checkpoint: Checkpoint
    weights_sha256: str
    intervals: dict[str, Any] | None = None
    """As INTERVALS holds them; nothing here looks inside."""

    @property
    def network(self) -> dict[str, Any]:
        """Settings of the network: kind, width, pixel_size, pitch, box, pixel_mm, centre."""
        settings: dict[str, Any] = self.checkpoint.settings["network"]
        return settings

    def shown(self, image: Volume, spacing: Spacing, centre_yx: Centre = None, tilt: float = 0.0) -> Shown:
        """A segmenter sees a study of more slices than its box in a taller one. StudyRefused: a regressor cannot."""
        slices, rows, columns = self.network["box"]
        if len(image) > slices and self.network["kind"] == "reg":
            raise StudyRefused(Reason.TOO_MANY_SLICES, f"{len(image)} slices, and the regressor takes at most {slices}:"
                               " use a segmenter's checkpoint")
        x, placement = box.take(image, self._centre(centre_yx), (max(slices, len(image)), rows, columns),
                                grid_of(self.network["pixel_mm"], spacing, tilt))
        return Shown(x, placement, spacing_of(self.network["pixel_mm"], spacing))

    def outside_training(self, **facts: float) -> list[str]:
        """Those of the facts (dz_mm=..., slices=..., mass_g=...) that lie outside the range of the training studies,
        by more than rounding: a pitch measured from positions is never exactly 10 mm."""
        ranges = self.checkpoint.trained_on
        return [name for name, value in facts.items()
                if not ranges[name][0] * (1 - ROUNDING) <= value <= ranges[name][1] * (1 + ROUNDING)]

    def at_border(self, mask: Mask, spacing: Spacing, centre_yx: Centre = None, tilt: float = 0.0) -> bool:
        """Whether a mask that the network gave touches a side of its box: part of the heart may lie beyond."""
        _, rows, columns = self.network["box"]
        seen = box.take_mask(mask, box.place(mask.shape, self._centre(centre_yx), (len(mask), rows, columns),
                                             grid_of(self.network["pixel_mm"], spacing, tilt)))
        return bool(seen[:, [0, -1]].any() or seen[:, :, [0, -1]].any())

    def _centre(self, centre_yx: Centre) -> Centre:
        if self.network["centre"] != "heart":
            return None
        if centre_yx is None:
            raise ValueError("this network needs the heart's centre")
        return centre_yx
