"""Arrays as binary cells: the planes of high and low bytes apart, then zstd level 1.

Slow-varying high bytes compress to almost nothing once they stand together (as Blosc's byte shuffle does).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray


def encode(array: NDArray[Any]) -> bytes:
    """Any array -> bytes; shape and dtype are kept by the caller. Little-endian whatever the machine."""
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    planes = data.reshape(-1).view(np.uint8).reshape(data.size, data.itemsize).T
    return bytes(pa.Codec("zstd", compression_level=1).compress(planes.tobytes(), asbytes=True))


def decode(cell: pa.Buffer | bytes, dtype: DTypeLike, shape: Sequence[int]) -> NDArray[Any]:
    """The array that `encode` was given. Raises OSError where the bytes are no zstd frame of that size."""
    kind, size = np.dtype(dtype).newbyteorder("<"), math.prod(shape)
    raw = pa.Codec("zstd").decompress(cell, decompressed_size=size * kind.itemsize)
    planes = np.frombuffer(raw, np.uint8).reshape(kind.itemsize, size)
    words: NDArray[Any] = planes[-1].astype(f"<u{kind.itemsize}")
    for plane in planes[-2::-1]:  # whole words: many times as fast as placing bytes
        words <<= 8
        words |= plane
    return words.view(kind).reshape(shape)
