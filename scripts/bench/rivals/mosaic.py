"""mosaicml-streaming: MDS shards, downloaded whole to a local cache. options: compression, e.g. zstd:1, or None."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import boto3
from torch import Tensor
from torch.utils.data import DataLoader

from scripts.bench.rivals.rows import BATCH, SHAPE, volume
from scripts.bench.rivals.side import Place

Pair = tuple[Tensor, Tensor]


def _streaming() -> Any:
    """The package. Its ready-made vision sets want torchvision, whose wheel wants a torch for CUDA: a name will do."""
    names = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")
    modules: dict[str, Any] = {name: ModuleType(name) for name in names}
    for name, module in modules.items():
        module.__spec__ = ModuleSpec(name, None)
    modules[names[1]].VisionDataset = object
    modules[names[3]].to_tensor = None
    sys.modules.update(modules)
    import streaming  # type: ignore[import-not-found]

    return streaming


def write(place: Place) -> None:
    bucket, key = place.bucket_and_key
    shape = ",".join(map(str, SHAPE))
    with _streaming().MDSWriter(out=str(place.cache), compression=place.options["compression"], columns={
            "image": f"ndarray:int16:{shape}", "mask": f"ndarray:uint8:{shape}"}) as sink:
        for number in range(place.rows):
            image, mask = volume(number)
            sink.write({"image": image, "mask": mask})
    for path in place.cache.iterdir():
        boto3.client("s3").upload_file(str(path), bucket, f"{key}/{path.name}")
    shutil.rmtree(place.cache)


@contextmanager
def session(place: Place) -> Iterator[Callable[[], Iterator[Pair]]]:
    os.environ["S3_ENDPOINT_URL"] = os.environ["AWS_ENDPOINT_URL"]
    streaming = _streaming()
    streaming.base.util.clean_stale_shared_memory()  # as its handbook has it: of runs that were killed
    yield partial(_batches, place, streaming)


def _batches(place: Place, streaming: Any) -> Iterator[Pair]:
    samples = streaming.StreamingDataset(remote=place.uri, local=str(place.cache), shuffle=True, batch_size=BATCH)
    for batch in DataLoader(samples, batch_size=BATCH, num_workers=place.options["workers"], drop_last=True):
        yield batch["image"], batch["mask"]
