"""No id, name or birth date leaves: phantoms have all three, and every byte that lvray writes or says is searched."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pydicom
import pytest
import ray

from lvray.shards.dataset import open_dataset

Lvray = Callable[..., Any]


def leaks(secrets: Iterable[str], data: bytes) -> list[str]:
    """The secrets in the data. Seven digits inside a longer number or a hash are none."""
    pattern = rb"(?<![0-9a-f.])(" + b"|".join(re.escape(s.encode()) for s in sorted(secrets)) + rb")(?![0-9a-f])"
    return [found.decode() for found in re.findall(pattern, data)]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its name, and the cells of the tables among them, decoded."""
    found = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    for file in folder.rglob("*.parquet"):
        found[f"{file.name}, decoded"] = repr(pq.read_table(file).to_pydict()).encode()
    assert found
    return found


PLANTED = ("PatientComments", "InstitutionName", "OperatorsName", "OtherPatientIDs", "StudyDescription", "StudyID",
           "ReferringPhysicianName", "SeriesDescription", "AccessionNumber", "PatientAddress", "ImageComments",
           "ProtocolName")


@pytest.fixture(scope="session")
def planted(cohort: Any, lvray: Lvray) -> Any:
    """(DST, what was said) of studies with a planted text in twelve attributes, a private one, file names, the zip's
    comment and an overlay's label: one sound, one cut short, one that no decoder takes, one that is no short axis."""
    src = cohort.shards.parent / "planted"
    src.mkdir()
    for study in range(4):
        with zipfile.ZipFile(cohort.good[study]) as given, zipfile.ZipFile(src / f"Planted^Zip{study}.zip", "w") as out:
            out.comment = b"Planted^Comment"
            for name in given.namelist():
                data = given.read(name)
                if name.endswith(".dcm"):
                    data = _plant(data, study)
                out.writestr(f"Planted^Folder/{name}", data[:900] if study == 1 else data)
    dst = cohort.shards.parent / "planted-shards"
    return dst, lvray("tensorize", src, dst, "--key", cohort.key, "--max-rejects", "1")


def _plant(data: bytes, study: int) -> bytes:
    ds = pydicom.dcmread(io.BytesIO(data))
    for keyword in PLANTED:
        if keyword != "SeriesDescription" or study == 3:
            setattr(ds, keyword, "Planted^Text")
    ds.private_block(0x29, "Planted^Maker", create=True).add_new(1, "LO", "Planted^Private")
    ds.add_new((0x6000, 0x1500), "LO", "Planted^Overlay")
    if study == 2:
        ds.BitsAllocated = 24
    if study == 3:
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()


def test_nothing_that_was_planted_comes_out(cohort: Any, planted: Any) -> None:
    dst, said = planted
    assert open_dataset(str(dst)).manifest.studies == 4
    assert open_dataset(str(dst)).manifest.rejects.rows == 3
    for name, data in contents(dst).items():
        assert b"Planted" not in name.encode() + data, name
    assert "Planted" not in said.out + said.err


def test_the_search_finds_what_it_looks_for(cohort: Any) -> None:
    with zipfile.ZipFile(cohort.good[0]) as study:
        assert all(leaks(cohort.secrets, study.read(name)) for name in study.namelist())
    assert leaks(cohort.secrets, (cohort.src / "labels.tsv").read_bytes())
    assert leaks(["1234567"], b"at /x/1234567_20209_2_0.zip") == ["1234567"]
    assert leaks(["1234567"], b"0.1234567 12345678 a1234567") == []


def test_nothing_in_any_output(cohort: Any, seg: Any, reg: Any, evaluated: Any, predicted: Any) -> None:
    for folder in (cohort.shards, seg.folder, reg.folder, evaluated.folder, predicted.folder):
        for name, data in contents(folder).items():
            assert not leaks(cohort.secrets, name.encode() + b" " + data), name


def test_nothing_in_what_commands_say(cohort: Any, seg: Any, reg: Any, evaluated: Any, predicted: Any,
                                      lvray: Lvray, tmp_path: Path) -> None:
    studies = sorted(p for p in cohort.src.iterdir() if p.suffix != ".tsv")
    (tmp_path / "short.tsv").write_text((cohort.src / "labels.tsv").read_text() + "9444444\tmuch\n")
    said = [cohort.tensorized, seg.said, reg.said, evaluated.said, predicted.said,
            lvray("predict", *studies, "--checkpoint", seg.best, "--key", cohort.key),
            lvray("predict", *studies, "--checkpoint", seg.best, "--json"),
            *(lvray("measure", study) for study in studies),
            lvray("measure", *studies), lvray("measure", cohort.src / "9555555.zip"),
            lvray("tensorize", cohort.src, tmp_path / "a", "--labels", tmp_path / "short.tsv", "--key", cohort.key),
            lvray("shards", "show", cohort.shards), lvray("shards", "verify", cohort.shards)]
    secrets = {*cohort.secrets, "9444444", "9555555", str(cohort.src)}
    assert not [leak for s in said for leak in leaks(secrets, (s.out + s.err).encode())]
    assert {s.code for s in said} == {0, 2, 3}


def test_nothing_in_rays_logs(cohort: Any, seg: Any, reg: Any, evaluated: Any, predicted: Any, planted: Any) -> None:
    worker: Any = ray._private.worker  # the only way to this session's own
    logs = Path(worker._global_node.get_logs_dir_path())
    for name, data in contents(logs).items():
        assert not leaks(cohort.secrets, data), name


def test_show_paths_shows_them(cohort: Any, seg: Any, lvray: Lvray) -> None:
    said = lvray("predict", cohort.bad[0], "--checkpoint", seg.best, "--show-paths")
    assert said.code == 3
    assert str(cohort.bad[0]) in said.err
