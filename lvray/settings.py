"""The typed schema of every setting. Frozen; an unknown key is an error. Named values live in recipes.py."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]
Box = tuple[Positive, Positive, Positive]


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Network(Settings):
    """One of the two networks."""

    kind: Literal["reg", "seg"]
    width: Positive = 32
    """Channels of every convolution (the released segmenter has 32)."""
    pixel_size: bool = True
    """Feed the in-plane spacing to the network [P]."""
    box: Box = (13, 256, 256)
    """Slices, rows, columns that a study is padded or cropped to. Rows and columns are multiples of 8."""
    centre: Literal["image", "heart"] = "image"
    """What the box is centred on: the middle of the image [P], or the heart as its motion shows it."""

    @model_validator(mode="after")
    def _pools(self) -> Self:
        if self.box[1] % 8 or self.box[2] % 8:
            raise ValueError(f"box {self.box}: rows and columns must be multiples of 8 (three poolings by 2)")
        return self


class Target(Settings):
    """How the regressor's target is standardised: (mass - mean_g) / sd_g. Defaults: the manual labels' [C]."""

    mean_g: float = 89.7037
    sd_g: Annotated[float, Field(gt=0)] = 24.8037


class Optimiser(Settings):
    name: Literal["adam", "radam"] = "adam"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Exponential decay of the learning rate per epoch. The paper gives no value: search it."""
    plateau: Positive | None = None
    """Halve the rate after so many epochs without a better validation loss [C]."""


class Stream(Settings):
    """The order of the training rows (shards/order.py)."""

    batch: Positive = 4
    """Rows of one step over all workers together."""
    lanes: Positive = 4
    """Fixed shares that the batch is dealt in; at most so many workers."""
    window: Positive = 64
    """Rows shuffled among themselves; a multiple of the shards' row group."""
    seed: int = 0

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.batch % self.lanes:
            raise ValueError(f"batch {self.batch} is not a multiple of lanes {self.lanes}")
        return self


class Recipe(Settings):
    """Everything that decides the bytes of a run's weights, given the data and the hardware."""

    name: str
    network: Network
    target: Target = Target()
    optimiser: Optimiser = Optimiser()
    stream: Stream = Stream()
    epochs: Positive
    patience: Positive | None = None
    """Stop after so many epochs without a better validation loss."""
    augment: bool = False
    """Seeded rotation, shift and scale in the plane, contrast and noise (nets/augment.py)."""
    workers: Positive = 1
    threads: Positive = 1
    """CPU threads of a worker: part of the recipe, since sums differ by it."""
    validate_epochs: Positive = 1
    """Validate, and write a checkpoint, each so many epochs; more where an epoch is a few steps."""
    for_show: bool = False
    """Weights of this recipe are for demonstration: every prediction says so."""

    @model_validator(mode="after")
    def _workers(self) -> Self:
        if self.workers > self.stream.lanes:
            raise ValueError(f"{self.workers} workers need at least as many lanes, not {self.stream.lanes}:"
                             " a larger batch with more lanes is another recipe, with its own learning rate")
        return self


class Splits(Settings):
    """Shares of the participants; the rest trains."""

    validation: Annotated[float, Field(ge=0, lt=1)] = 0.1
    calibration: Annotated[float, Field(ge=0, lt=1)] = 0.1
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.15
    seed: int = 0

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if self.validation + self.calibration + self.holdout >= 1:
            raise ValueError("validation + calibration + holdout leave nobody to train on")
        return self


class Tensorize(Settings):
    mask_rule: Literal["polygon", "morphology"] = "polygon"
    """Filled polygons, or the authors' closing of the outline [C]."""
    splits: Splits = Splits()
    group_rows: Positive = 16
    """Rows of a Parquet row group."""
    shard_mb: Positive = 128
