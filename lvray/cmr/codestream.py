"""What a compressed image says of its own size, ahead of decoding: decoders believe it, to gigabytes and minutes.

Sources: JPEG, ITU-T T.81, B.2; JPEG-LS, T.87, C.2; JPEG 2000, T.800, A.5.1; RLE, DICOM PS3.5, G.
"""

from __future__ import annotations

import math
import struct

JPEG_2000 = b"\xff\x4f\xff\x51"
"""Start of codestream; image and tile size."""
SIZE = struct.Struct(">8xIIIIIIIIHxBB")
"""Far corner and origin of the image, size and origin of its tiles, components, sub-sampling of the first one."""
MAX_TILES = 1024
MAX_PIXELS = 1 << 20
"""Of a JPEG 2000 image: precincts as small as its decoder takes cost 550 bytes a pixel."""
JPEG = b"\xff\xd8"
AHEAD = frozenset((0xC4, 0xCC, 0xDB, 0xDD, 0xF8, 0xFE, *range(0xE0, 0xF0))) - {0xEB}
"""Markers that may come ahead of the frame: tables, comments, applications' own, but for JPEG XT's further images."""
FRAME = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCB, 0xF7))
"""Start of frame, hierarchical processes left out; the last is of JPEG-LS."""


def is_image(data: bytes, shape: tuple[int, int]) -> bool:
    """Whether one compressed frame says that it has so many rows and columns, and one component."""
    try:
        return (_jpeg_2000(data) if data[:4] == JPEG_2000 else _jpeg(data)) == (*shape, 1)
    except struct.error:  # it ends before it says so
        return False


def _jpeg(data: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components."""
    if data[:2] != JPEG:
        return None
    at = 2
    while True:
        fill, marker, length = struct.unpack_from(">BBH", data, at)
        if marker in FRAME:
            rows, columns, components = struct.unpack_from(">HHB", data, at + 5)
            return rows, columns, components
        if fill != 0xFF or marker not in AHEAD:
            return None
        at += 2 + length


def _jpeg_2000(data: bytes) -> tuple[int, int, int] | None:
    """The same; None also where it asks for more memory than an image of its size needs."""
    x, y, left, top, tile_x, tile_y, tile_left, tile_top, components, *sampling = SIZE.unpack_from(data)
    tiles = math.ceil((x - tile_left) / max(tile_x, 1)) * math.ceil((y - tile_top) / max(tile_y, 1))
    if sampling != [1, 1] or tiles > MAX_TILES or (x - left) * (y - top) > MAX_PIXELS:
        return None
    return y - top, x - left, components
