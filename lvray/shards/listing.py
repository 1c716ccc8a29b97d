"""The studies of a source: what there is, in an order of lvray's own, so that a position always names the same one."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lvray.errors import UseError
from lvray.shards import storage

SHORT_AXIS, LONG_AXIS = "20209", "20208"
UKB_NAME = re.compile(rf"(\d+)_({SHORT_AXIS}|{LONG_AXIS})_(\d+)_(\d+)(?i:\.zip)?")
PREAMBLE = 128
"""Bytes ahead of the letters DICM (DICOM PS3.10, 7.1)."""


@dataclass(frozen=True)
class Source:
    """One study to read. position: from 1. uri and name may hold a participant's id: never print them.

    version: of a zip, what the listing says of its content (storage.Entry).
    """

    position: int
    kind: Literal["zip", "folder"]
    uri: str = field(repr=False)
    name: str = field(repr=False)
    version: str = field(default="", repr=False)

    def participant_and_visit(self) -> tuple[str, int] | None:
        """(participant id, visit) of a UK Biobank name `{eid}_{field}_{instance}_{array}`, zipped or not, else None."""
        match = UKB_NAME.fullmatch(self.name)
        return (match[1], int(match[3])) if match else None


@dataclass(frozen=True)
class Listing:
    studies: list[Source]
    long_axis: int
    """UK Biobank's long-axis studies (field 20208), left out."""


def list_studies(uri: str) -> Listing:
    """The studies under `uri`, sorted by name: zips and study folders, or one study.

    A zip, or a folder that itself holds DICOM files, is one study. Hidden entries and other files are no studies.
    Raises UseError where there is none, or where loose DICOM files lie beside zips; EnvironmentFault where `uri`
    cannot be read.
    """
    uri = storage.absolute(uri).rstrip("/")
    own_name = uri.rsplit("/", 1)[-1]
    storage.preflight(uri, write=False, what="SRC")
    if _is_zip(own_name):
        return Listing([Source(1, "zip", uri, own_name)], long_axis=0)
    entries = [e for e in storage.list_entries(uri, "SRC") if not e.name.startswith((".", "__MACOSX"))]
    found = [e for e in entries if e.folder or _is_zip(e.name)]
    if any(_is_dicom(uri, e) for e in entries if not e.folder and not _is_zip(e.name)):
        if not all(e.folder for e in found):
            raise UseError("SRC holds loose DICOM files beside zips: give each study a zip or a folder of its own")
        return Listing([Source(1, "folder", uri, own_name)], long_axis=0)
    kept = [e for e in found if not _is_long_axis(e.name)]
    if not kept:
        raise UseError("SRC holds no studies: a folder of zips, or of folders with DICOM files, is wanted")
    studies = [Source(i, "folder" if e.folder else "zip", storage.join(uri, e.name), e.name, e.version)
               for i, e in enumerate(kept, 1)]
    return Listing(studies, long_axis=len(found) - len(kept))


def version_of(source: Source) -> str:
    """A text that changes when a study's files do: sizes and ETags, or times of modification. Reads none of them."""
    return source.version or storage.tree_version(source.uri)


def check_apart(src: str, dst: str, name: str) -> None:
    """UseError where `dst` is `src` or lies in it, by links too: the next listing would take it for a study."""
    inner, outer = (f"{uri if storage.is_s3(uri) else os.path.realpath(storage.absolute(uri))}".rstrip("/") + "/"
                    for uri in (dst, src))
    if inner.startswith(outer):
        raise UseError(f"{name} lies inside SRC, where it would be taken for a study: choose a place outside")


def named(uri: str, position: int) -> Source:
    """A study that the user names: a folder or a zip. UseError where there is neither."""
    kind: Literal["zip", "folder"] = "zip" if _is_zip(uri) else "folder"
    if storage.is_s3(uri):
        return Source(position, kind, uri, uri.rstrip("/").rsplit("/", 1)[-1])
    path = Path(uri.removeprefix("file://")).expanduser().resolve()
    if not (path.is_file() if kind == "zip" else path.is_dir()):
        raise UseError(f"study {position}: not there, or neither a folder nor a .zip")
    return Source(position, kind, str(path), path.name)


def bare(name: str) -> str:
    """A study's name without `.zip`: what others call it, however it is stored."""
    return name[:-len(".zip")] if _is_zip(name) else name


def _is_zip(name: str) -> bool:
    return name.lower().endswith(".zip")


def _is_long_axis(name: str) -> bool:
    match = UKB_NAME.fullmatch(name)
    return match is not None and match[2] == LONG_AXIS


def _is_dicom(uri: str, entry: storage.Entry) -> bool:
    if entry.name.lower().endswith(".dcm"):
        return True
    if entry.size < PREAMBLE + 4:
        return False
    fs, path = storage.filesystem(storage.join(uri, entry.name))
    with storage.faults("read a file of SRC"):
        return bytes(fs.cat_file(path, start=PREAMBLE, end=PREAMBLE + 4)) == b"DICM"
