"""What is known of the studies beside their images: labels, contours of experts, who belongs to which split."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from lvray.errors import UseError
from lvray.shards import splits, storage
from lvray.shards.identity import keyed
from lvray.shards.labels import Label
from lvray.shards.listing import bare

T = TypeVar("T")


@dataclass(frozen=True)
class Given:
    """labels, splits: by the participant's hash. contours: each study's folder and the sha256 of its files, by the
    study's name without `.zip`."""

    labels: Mapping[str, Label] = field(default_factory=dict, repr=False)
    splits: Mapping[str, str] = field(default_factory=dict, repr=False)
    contours: Mapping[str, tuple[Path, str]] = field(default_factory=dict, repr=False)

    def digest(self, key: bytes, study: str, participant: str | None) -> str:
        """A keyed hash that changes when anything given of this study does. participant: hash, None for a reject."""
        label, split = self.labels.get(participant or ""), self.splits.get(participant or "")
        contours = self.contours.get(bare(study))
        return keyed(key, "given", json.dumps([label and asdict(label), split, contours and contours[1]]))


def hashed(key: bytes, labels: Mapping[str, Label], listed: Mapping[str, str],
           contours: Mapping[str, Path]) -> Given:
    """labels and listed splits by participant id, contours: each study's folder by the study's name."""
    def by_hash(known: Mapping[str, T]) -> dict[str, T]:
        return {keyed(key, "participant", person): value for person, value in known.items()}

    return Given(by_hash(labels), by_hash(listed),
                 {bare(name): (folder, _content(folder)) for name, folder in contours.items()})


def read_splits(uri: str) -> dict[str, str]:
    """{participant id: split} of a CSV or TSV: a header line, then id, split. UseError with the line's number."""
    try:
        text = storage.read_bytes(uri, "the splits").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UseError(f"--splits: byte {error.start} is not UTF-8") from error
    lines = list(csv.reader(io.StringIO(text), delimiter="\t" if "\t" in text else ","))
    listed: dict[str, str] = {}
    for number, cells in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in cells):
            continue
        person, split = (cell.strip() for cell in (*cells, "", "")[:2])
        if not person or split not in splits.NAMES:
            raise UseError(f"--splits: line {number}: an id and one of {', '.join(splits.NAMES)} are wanted")
        if listed.setdefault(person, split) != split:
            raise UseError(f"--splits: line {number} puts a participant of an earlier line into another split")
    if not listed:
        raise UseError("--splits: a header line and then lines of participant id, split are wanted")
    return listed


def read_link(folder: Path, link: Path) -> dict[str, Path]:
    """Each study's contour folder below `folder`, by the study's name. link: CSV with a header; study, folder."""
    try:
        rows = list(csv.reader(link.read_text().splitlines()))[1:]
    except (OSError, UnicodeDecodeError) as e:
        raise UseError("--link: the CSV cannot be read") from e
    found = {row[0].strip(): folder.resolve() / row[1].strip() for row in rows if len(row) >= 2}
    missing = sum(not path.is_dir() for path in found.values())
    if missing or not found:
        raise UseError(f"--link: {missing} of {len(found)} lines name no folder under --contours;"
                       " columns: study name, contour folder")
    return found


def of_these(contours: Mapping[str, Path], studies: Iterable[str]) -> dict[str, Path]:
    """The contours of these studies (names). UseError where none of them is linked."""
    names = {bare(study) for study in studies}
    found = {name: path for name, path in contours.items() if bare(name) in names}
    if contours and not found:
        raise UseError(f"--link: none of its {len(contours)} lines names a study of SRC; columns: study name (that of"
                       " its folder or zip), contour folder")
    return found


def _content(folder: Path) -> str:
    digest = hashlib.sha256()
    with storage.faults("read the contours"):
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            digest.update(hashlib.sha256(path.relative_to(folder).as_posix().encode()).digest())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
