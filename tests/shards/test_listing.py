from __future__ import annotations

from pathlib import Path

import pytest

from lvray.errors import EnvironmentFault, UseError
from lvray.shards.listing import list_studies

DICOM = bytes(128) + b"DICM"


def touch(root: Path, *names: str, data: bytes = b"x") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def test_zips_in_an_order_of_our_own(tmp_path: Path) -> None:
    touch(tmp_path, "9_20209_2_0.zip", "10_20209_3_0.zip", "A.ZIP", "10_20208_2_0.zip", "labels.tsv", "truth.tsv",
          ".hidden.zip", "ukb.bulk")
    found = list_studies(str(tmp_path))
    assert found.long_axis == 1
    assert [(s.position, s.name, s.kind) for s in found.studies] == [
        (1, "10_20209_3_0.zip", "zip"), (2, "9_20209_2_0.zip", "zip"), (3, "A.ZIP", "zip")]
    assert [s.participant_and_visit() for s in found.studies] == [("10", 3), ("9", 2), None]
    assert all(Path(s.uri).exists() for s in found.studies)


def test_unzipped_uk_biobank_folders(tmp_path: Path) -> None:
    touch(tmp_path, "10_20209_3_0/1.dcm", "10_20208_2_0/1.dcm", "11_20209_2_0.ZIP")
    found = list_studies(str(tmp_path))
    assert found.long_axis == 1
    assert [s.participant_and_visit() for s in found.studies] == [("10", 3), ("11", 2)]


def test_folders_and_zips_together(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.dcm", "a/series/1.dcm", "c.zip", ".git/x")
    assert [(s.name, s.kind) for s in list_studies(str(tmp_path)).studies] == [
        ("a", "folder"), ("b", "folder"), ("c.zip", "zip")]


@pytest.mark.parametrize("name", ["x.dcm", "IM_0001"])
def test_a_folder_of_dicom_files_is_one_study(tmp_path: Path, name: str) -> None:
    touch(tmp_path, f"study/{name}", "study/more/2.dcm", data=DICOM)
    (study,) = list_studies(f"{tmp_path}/study/").studies
    assert (study.position, study.kind, study.name) == (1, "folder", "study")


def test_one_zip(tmp_path: Path) -> None:
    touch(tmp_path, "7_20209_2_0.zip")
    (study,) = list_studies(str(tmp_path / "7_20209_2_0.zip")).studies
    assert study.participant_and_visit() == ("7", 2)
    assert "7_20209" not in repr(study)


def test_loose_files_beside_zips_are_not_dropped_in_silence(tmp_path: Path) -> None:
    touch(tmp_path, "a.zip", "IM_0001", data=DICOM)
    with pytest.raises(UseError, match="loose DICOM files beside zips"):
        list_studies(str(tmp_path))


def test_nothing_there(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(UseError, match="SRC holds no studies"):
        list_studies(str(tmp_path))
    with pytest.raises(EnvironmentFault, match="cannot read SRC"):
        list_studies(str(tmp_path / "absent"))
