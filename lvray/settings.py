"""The typed schema of every setting. Frozen; an unknown key is an error. Named values live in recipes.py."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Positive = Annotated[int, Field(gt=0)]
Above = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
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
    pitch: bool = False
    """Feed the distance between slices too."""
    box: Box = (13, 256, 256)
    """Slices, rows, columns that a study is padded or cropped to. Rows and columns are multiples of 8."""
    pixel_mm: Above | None = None
    """Height and width that a study's pixels are brought to before; none: as acquired [P]."""
    centre: Literal["image", "heart"] = "image"
    """What the box is centred on: the middle of the image [P], or the heart as its motion shows it."""
    views: Literal[1, 2, 4, 8] = 1
    """A segmenter answers from so many of a box's quarter turns and mirrors, averaged. Nothing in training."""

    @model_validator(mode="after")
    def _pools(self) -> Self:
        if self.box[1] % 8 or self.box[2] % 8:
            raise ValueError(f"box {self.box}: rows and columns must be multiples of 8 (three poolings by 2)")
        if self.views > 1 and (self.kind == "reg" or self.pixel_mm is None or self.box[1] != self.box[2]):
            raise ValueError(f"views {self.views}: of a segmenter, with pixel_mm and a box of as many rows as columns")
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
    clip: Above | None = None
    """Greatest norm of the gradient: a longer one is scaled down to it."""


class Step(Settings):
    """How a step is computed. "auto" is measured when a run begins, and kept for good with the run."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    channels_last: Literal["auto"] | bool = "auto"
    """Memory format of the weights and feature maps."""
    compile: Literal["auto"] | bool = "auto"
    accumulate: Positive = 1
    """Passes that a worker's share of a batch is cut into: less memory, and other last bits."""


class Saving(Settings):
    """When checkpoints are written, and which are kept. Nothing here changes a run's weights."""

    seconds: Annotated[float, Field(ge=0)] = 60.0
    """A checkpoint so often (0: after every step), besides one at every validation."""
    keep: Positive = 2
    """The latest so many are kept, and the best."""


class Stream(Settings):
    """The order of the training rows (shards/order.py)."""

    batch: Positive = 4
    """Rows of one step over all workers together."""
    lanes: Positive = 4
    """Fixed shares that the batch is dealt in; at most so many workers."""
    window: Positive = 64
    """Rows shuffled among themselves; a multiple of the shards' row group."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

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
    step: Step = Step()
    saving: Saving = Saving()
    epochs: Positive
    patience: Positive | None = None
    """Stop after so many epochs without a better validation loss."""
    augment: bool = False
    """Seeded rotation, shift and scale in the plane, contrast and noise (nets/augment.py)."""
    any_turn: bool = False
    """Augment by any turn, and by mirrors: for images whose orientation is not known."""
    threads: Positive = 1
    """CPU threads of a worker: part of the recipe, since sums differ by it."""
    start: str | None = None
    """Checksum of the weights that a run begins with, of `train --from`; none: drawn by the seed."""
    validate_epochs: Positive = 1
    """Validate each so many epochs; more where an epoch is a few steps."""
    for_show: bool = False
    """Weights of this recipe are for demonstration: every prediction says so."""


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


class Quality(Settings):
    """Thresholds of the flags (cmr/quality.py says each flag in words). Lengths in mm, shares 0 to 1."""

    pitch_share: Share = 0.1
    """A distance between slices may leave the median by this share."""
    agreement: Share = 0.86
    """Of a network's views, below which its mask is not to be trusted (nets/trained.Drawn)."""
    wide_pitch_mm: Above = 12.0
    """Protocols take slices 6 to 10 mm apart."""
    shift_mm: Above = 2.0
    """A slice's origin may lie so far off the line of the others."""
    stack_slices: tuple[Positive, Positive] = (7, 16)
    """Fewest and most slices of a usual stack."""
    pixel_mm: tuple[Above, Above] = (0.7, 2.5)
    """Smallest and largest usual pixel."""
    mass_slices: Positive = 6
    """Slices that a mass should come from at least."""
    mass_g: tuple[Above, Above] = (30.0, 400.0)
    """Plausible masses."""
    wall_share: Share = 0.5
    """A slice's cavity border should touch wall along this share."""
    cross_share: Share = 0.02
    """Share of an endocardium that may lie outside its epicardium: experts' lines cross by a little."""
    off_heart_mm: Above = 25.0
    """Outlines further from the heart that the images show are another heart's: the finder is right to 10 mm."""
    ed_swing: Share = 0.08
    """The bright area should shrink by this share over the beat for ED to be sure."""
    grey_levels: Positive = 32
    """Grey levels that the middle 98 % of a slice's pixels should span."""
    saturated_share: Share = 0.02
    """Share of a slice's pixels that may stand at its greatest value."""


class Tensorize(Settings):
    """Everything that decides the rows of a data set, given the studies, what is known of them, and the key."""

    phases: Literal["ed", "ed,es", "all"] = "ed"
    """Phases kept: end diastole alone; end systole too; the whole beat."""
    mask_rule: Literal["polygon", "morphology"] = "polygon"
    """Filled polygons, or the authors' closing of the outline [C]."""
    splits: Splits = Splits()
    quality: Quality = Quality()
    study_seconds: Positive = 120
    """A study that takes longer is refused: a damaged file can keep a decoder busy for ever."""
    group_rows: Positive = 16
    """Rows of a Parquet row group."""
    shard_mb: Positive = 128

    @field_validator("phases", mode="before")
    @classmethod
    def _list(cls, value: object) -> object:
        """`--set phases=ed,es` comes as a list."""
        return ",".join(map(str, value)) if isinstance(value, list) else value


class Predict(Settings):
    """How a cohort is predicted. Precision decides the numbers; device, batch and threads their last bits."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Of the network: GPUs where the cluster has any."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of its feature maps. bf16 is quicker where the hardware multiplies it, and flips voxels at borders."""
    batch: Positive | None = None
    """Studies of a pass: by itself 1 on a CPU, where more gain nothing, 8 on a GPU."""
    workers: Positive | None = None
    """Processes that hold the network: by itself one a GPU, or one for each `threads` CPUs."""
    threads: Positive = 1
    """CPU threads of a worker."""
    flush: Positive = 64
    """Outcomes written together: so many a killed run may lose at most, beside those it was at."""
    study_seconds: Positive = 120
    """A study that takes longer to read is refused."""


class Replicas(Settings):
    """Processes of one kind in the service."""

    replicas: Positive = 2
    """So many always, or at least, with `most`: one may die, and nobody waits."""
    most: Positive | None = None
    """Ray Serve scales up to so many by the requests at hand."""
    ongoing: Positive = 2
    """Requests at hand of a replica that scaling aims at."""
    cpus: Above = 0.25
    """What the scheduler sets aside for a replica; nothing is held to it."""
    gpus: Annotated[float, Field(ge=0)] = 0.0
    """Share of a GPU of a replica; 0: it computes on the CPU."""

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.most is not None and self.most < self.replicas:
            raise ValueError(f"most={self.most} is fewer than replicas={self.replicas}")
        return self


class Serve(Settings):
    """The service. What one request may cost is bounded by the limits here; MB are 2**20 bytes."""

    readers: Replicas = Replicas()
    """They take requests and read studies, one at a time each."""
    networks: Replicas = Replicas()
    """Of each network."""
    batch: Positive | None = None
    """Studies of a pass at most: by itself 1 on a CPU, where more gain nothing, 8 on a GPU."""
    batch_wait_ms: Annotated[float, Field(ge=0)] = 10.0
    """A pass that is not full waits so long for more."""
    threads: Positive = 1
    """CPU threads of a network's replica."""
    body_mb: Positive = 512
    """Of an upload, or of a study at a URI: a short axis of UK Biobank with 13 slices and 50 phases is about 100 MB."""
    members: Positive = 20_000
    """Files of a zip."""
    inflated_mb: Positive = 2048
    """Of a zip's files together."""
    ratio: Positive = 1000
    """Of a zip's file, inflated to packed: masks reach 800."""
    megapixels: Positive = 256
    """Of the short axis, all slices and phases: UK Biobank's has 35."""
    upload_seconds: Above = 120.0
    study_seconds: Above = 60.0
    """A study that takes longer to read is refused."""
    answer_seconds: Above = 120.0
    """A network that has not answered by then is too busy."""
    queue: Positive = 16
    """Requests that a reader has at hand, uploads included; more are told to come back."""
    held_mb: Positive = 1024
    """Of uploads that a reader holds in memory."""
    retry_seconds: Positive = 5
    """When to come back."""
    per_minute: Positive = 600
    """Requests of one key that a reader takes."""
    uri_prefixes: tuple[str, ...] = ()
    """Where {"uri": ...} may point to: s3:// or plain paths; nowhere by itself."""

    @field_validator("uri_prefixes", mode="before")
    @classmethod
    def _one(cls, value: object) -> object:
        """`--set uri_prefixes=s3://bucket/ukb` comes as a text."""
        return (value,) if isinstance(value, str) else value
