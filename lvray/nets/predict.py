"""Predictions with a checkpoint alone: no settings by hand, no Ray."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lvray.errors import CheckpointError, Reason, StudyRefused
from lvray.nets import box
from lvray.nets.build import build
from lvray.nets.checkpoint import WEIGHTS, Checkpoint, read
from lvray.nets.pieces import keep_largest
from lvray.nets.regressor import Regressor
from lvray.nets.segmenter import Segmenter

ROUNDING = 0.01
FACTS = ("dz_mm", "dy_mm", "dx_mm", "slices", "mass_g")

Volume = npt.NDArray[np.generic]
Spacing = tuple[float, float, float]
Centre = tuple[float, float] | None


@dataclass(frozen=True)
class Predictor:
    """A trained network and what it was trained with. It predicts in fp32, whatever it was trained in.

    Images are [Z, Y, X], base first, in the canonical in-plane orientation; spacing is (dz, dy, dx) in mm. `centre_yx`
    is the heart's row and column: needed where `network["centre"]` says "heart", not looked at otherwise.
    """

    model: Segmenter | Regressor
    checkpoint: Checkpoint
    weights_sha256: str

    @property
    def network(self) -> dict[str, Any]:
        """Settings of the network: kind, width, pixel_size, pitch, box, centre."""
        settings: dict[str, Any] = self.checkpoint.settings["network"]
        return settings

    def segment(self, image: Volume, spacing: Spacing, centre_yx: Centre = None) -> npt.NDArray[np.uint8]:
        """Mask uint8 [Z, Y, X] in the image's own grid, with what lies beside the heart removed (`pieces`).

        A study of more slices than the training box is seen in a taller box. ValueError: a regressor's checkpoint.
        """
        if not isinstance(self.model, Segmenter):
            raise ValueError("a regressor does not segment")
        slices, rows, columns = self.network["box"]
        x, placement = box.take(image, self._centre(centre_yx), (max(slices, len(image)), rows, columns))
        with torch.inference_mode():
            mask = self._run(x, spacing)[0].argmax(0).to(torch.uint8)
            return box.put_back(keep_largest(mask).numpy(), placement)

    def regress(self, image: Volume, spacing: Spacing, centre_yx: Centre = None) -> float:
        """LV mass in grams. StudyRefused: more slices than the network's box. ValueError: a segmenter's checkpoint."""
        if not isinstance(self.model, Regressor):
            raise ValueError("a segmenter does not regress")
        slices, rows, columns = self.network["box"]
        if len(image) > slices:
            raise StudyRefused(Reason.TOO_MANY_SLICES, f"{len(image)} slices, and the regressor takes at most {slices}:"
                               " use a segmenter's checkpoint")
        x, _ = box.take(image, self._centre(centre_yx), (slices, rows, columns))
        target = self.checkpoint.settings["target"]
        with torch.inference_mode():
            return float(self._run(x, spacing)) * float(target["sd_g"]) + float(target["mean_g"])

    def outside_training(self, **facts: float) -> list[str]:
        """Those of the facts (dz_mm=..., slices=..., mass_g=...) that lie outside the range of the training studies,
        by more than rounding: a pitch measured from positions is never exactly 10 mm."""
        ranges = self.checkpoint.trained_on
        return [name for name, value in facts.items()
                if not ranges[name][0] * (1 - ROUNDING) <= value <= ranges[name][1] * (1 + ROUNDING)]

    def at_border(self, mask: npt.NDArray[np.uint8], centre_yx: Centre = None) -> bool:
        """Whether a mask that `segment` gave touches a side of the network's box: part of the heart may lie beyond."""
        _, rows, columns = self.network["box"]
        _, placement = box.take(mask, self._centre(centre_yx), (len(mask), rows, columns))
        seen = box.take_mask(mask, placement)
        return bool(seen[:, [0, -1]].any() or seen[:, :, [0, -1]].any())

    def _centre(self, centre_yx: Centre) -> Centre:
        if self.network["centre"] != "heart":
            return None
        if centre_yx is None:
            raise ValueError("this network needs the heart's centre")
        return centre_yx

    def _run(self, x: npt.NDArray[np.float32], spacing: Spacing) -> torch.Tensor:
        result: torch.Tensor = self.model(torch.from_numpy(x)[None, None], torch.tensor([spacing], dtype=torch.float32))
        return result


def load(folder: Path) -> Predictor:
    """The predictor of a checkpoint's folder. CheckpointError: see `read`, or settings that are none, or weights
    that do not fit them."""
    saved = read(folder)
    try:
        sound = _sound(saved)
    except (KeyError, TypeError, ValueError, OverflowError):
        sound = False
    if not sound:
        raise CheckpointError("the checkpoint's state.json lacks what a prediction needs, or holds what cannot be:"
                              " use the lvray version that wrote it, or train anew")
    network = saved.settings["network"]
    try:
        model = build(network["kind"], network["width"], tuple(network["box"]), network["pixel_size"], network["pitch"])
        model.load_state_dict(saved.weights)
    except RuntimeError as error:
        raise CheckpointError("the checkpoint's weights do not fit the network that its settings describe:"
                              " use the lvray version that wrote it, or train anew") from error
    model = model.to(memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload]
    return Predictor(model, saved, hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest())


def _sound(saved: Checkpoint) -> bool:
    """Whether all that predictions use is there and of its kind. KeyError, TypeError, ValueError, OverflowError: no."""
    network, target = saved.settings["network"], saved.settings["target"]
    slices, rows, columns = network["box"]
    ranges = [saved.trained_on[fact] for fact in FACTS]
    numbers = [target["mean_g"], target["sd_g"], *(value for least, greatest in ranges for value in (least, greatest))]
    return (isinstance(saved.settings["name"], str)
            and isinstance(saved.settings["for_show"], bool)
            and network["kind"] in ("seg", "reg")
            and network["centre"] in ("image", "heart")
            and isinstance(network["pixel_size"], bool)
            and isinstance(network["pitch"], bool)
            and all(type(n) is int and n > 0 for n in (network["width"], slices, rows, columns))
            and rows % 8 == columns % 8 == 0
            and all(math.isfinite(n) for n in numbers)
            and target["sd_g"] > 0)
