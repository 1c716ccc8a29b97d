"""Arrays as binary cells: the planes of high and low bytes apart, then zstd level 1.

Slow-varying high bytes compress to almost nothing once they stand together (as Blosc's byte shuffle does).
"""

from __future__ import annotations

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
    kind = np.dtype(dtype).newbyteorder("<")
    out = np.empty(tuple(shape), kind)
    raw = pa.Codec("zstd").decompress(cell, decompressed_size=out.nbytes)
    planes = np.frombuffer(raw, np.uint8).reshape(kind.itemsize, out.size)
    out.reshape(-1).view(np.uint8).reshape(out.size, kind.itemsize)[...] = planes.T
    return out
