"""Four ways to get one study's end diastole out of its zip, to be timed beside each other."""

from __future__ import annotations

import io
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import h5py
import numpy as np
import pyarrow as pa
import pydicom
from pydicom.dataset import FileDataset

from lvray.cmr.study import read_cine
from lvray.settings import Tensorize
from lvray.shards import parts, storage
from lvray.shards.convert import Context, convert
from lvray.shards.listing import Source
from lvray.shards.schema import Reject
from lvray.shards.studies import open_study

KEY = b"a key for benches, 32 bytes long"
HEAD_BYTES = 4096
"""What a DICOM header of these studies fits in."""
OVERLAY = 0x6000


@dataclass(frozen=True)
class Study:
    """One zip. images, outlines: its members that a row at ED is made from: pixels, and overlay planes."""

    source: Source
    images: frozenset[str]
    outlines: frozenset[str]


def study(uri: str, position: int) -> Study:
    """The study at a URI, with what a row needs of it: the phantoms' ED is phase 1, and UIDs name their members."""
    source = Source(position, "zip", uri, uri.rsplit("/", 1)[-1])
    with open_study(source) as opened:
        cine = read_cine(opened.members)
    images = frozenset(f"{row[0].uid}.dcm" for row in cine.frames if row[0])
    outlines = frozenset(f"{frame.uid}.dcm" for (_, phase), frame in cine.outlined.items() if phase == 0)
    return Study(source, images, outlines)


def lvray(case: Study, out: str) -> None:
    """What a worker does with a study: fetched, read, checked, measured, encoded, and set aside at `out`."""
    outcome = parts.stage(out, f"{case.source.position}.parquet", convert(case.source, Context(KEY, Tensorize())))
    assert not isinstance(outcome, Reject), outcome


def usual(case: Study, out: Path) -> None:
    """The usual way: every DICOM of the zip decoded by pydicom with its defaults, stacked by series, and written with
    its overlays into one HD5 file a person on disk, gzip as h5py has it (level 4, chunks of its own choice)."""
    series: dict[str, list[FileDataset]] = defaultdict(list)
    with fetched(case.source.uri) as file, zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            if name.endswith(".dcm"):
                ds = pydicom.dcmread(io.BytesIO(archive.read(name)))
                series[f"{ds.SeriesNumber} {ds.SeriesDescription}"].append(ds)
    with h5py.File(out, "w") as hd5:
        for name, images in series.items():
            images.sort(key=lambda ds: int(ds.InstanceNumber))
            outlined = [ds for ds in images if (OVERLAY, 0x3000) in ds]
            hd5.create_dataset(f"{name}/images", data=np.stack([ds.pixel_array for ds in images]), compression="gzip")
            if outlined:
                planes = np.stack([ds.overlay_array(OVERLAY) for ds in outlined])
                hd5.create_dataset(f"{name}/overlays", data=planes, compression="gzip")


def whole(case: Study) -> None:
    """The floor: each DICOM member inflated once, since any may be needed; the kept frames decoded; nothing else."""
    with fetched(case.source.uri) as file, zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            if name.endswith(".dcm"):
                _decode(case, name, archive.read(name))


def heads(case: Study, block: int | None = None) -> None:
    """A lower floor: HEAD_BYTES of each member inflated, and the kept ones whole. block: as `fetched`."""
    with fetched(case.source.uri, block) as file, zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            if name in case.images | case.outlines:
                _decode(case, name, archive.read(name))
            elif name.endswith(".dcm"):
                with archive.open(name) as member:
                    member.read(HEAD_BYTES)


@contextmanager
def fetched(uri: str, block: int | None = None) -> Iterator[BinaryIO]:
    """A zip to read: a file as it lies there, an object fetched whole, or in requests of at least `block` bytes."""
    if not storage.is_s3(uri):
        with open(uri, "rb") as file:
            yield file
        return
    with storage.open_file(uri, "the study") as remote:
        yield cast(BinaryIO, io.BufferedReader(remote, block) if block else pa.BufferReader(remote.whole()))


def _decode(case: Study, name: str, data: bytes) -> None:
    if name in case.images:
        pydicom.dcmread(io.BytesIO(data)).pixel_array  # noqa: B018
    elif name in case.outlines:
        pydicom.dcmread(io.BytesIO(data)).overlay_array(OVERLAY)


Way = Callable[[Study], None]


def ways(parts_at: str, folder: Path) -> dict[str, Way]:
    """The four by name. parts_at: URI where lvray sets parts aside; folder: for the HD5 files."""
    return {"lvray": lambda case: lvray(case, parts_at),
            "usual": lambda case: usual(case, folder / f"{case.source.position}.hd5"),
            "whole": whole, "heads": heads}
