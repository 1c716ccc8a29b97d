"""Others' estimates: nobody is lost, doubled or taken for somebody else without a word."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lvray.cmr.nifti import write as write_mask
from lvray.errors import UseError
from lvray.jobs.external import files_of, from_csv, from_masks, outcomes_of, overlaps_of
from lvray.shards.dataset import Dataset
from lvray.shards.identity import keyed
from lvray.shards.stream import scan
from tests.jobs.conftest import TENSORIZE, tiny_row
from tests.shards.conftest import write_to

KEY = b"a key for tests, 32 bytes long.."
ONE, TWO = (keyed(KEY, "participant", eid) for eid in ("1000001", "1000002"))


def csv(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "theirs.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_ids_become_hashes_and_hashes_stay(tmp_path: Path) -> None:
    file = csv(tmp_path, "participant,Theirs,Others", "1000001,90.5,", f"{TWO},80,70")
    assert from_csv(file, KEY) == {"Theirs": {ONE: 90.5, TWO: 80.0}, "Others": {ONE: None, TWO: 70.0}}


@pytest.mark.parametrize(("lines", "says"), [
    (["participant,A"], "a CSV with a header"),
    (["participant", "1000001"], "a CSV with a header"),
    (["participant,A", "1000001"], "line 2 has 1 columns, the header 2"),
    (["participant,A", "1000001,much"], "line 2 holds a mass that is not a number"),
    (["participant,A", "1000001,nan"], "line 2 holds a mass that is not a number"),
    (["participant,A", "1000001,-50"], "line 2 holds a mass outside 0 to 1000 g"),
    (["participant,A", "1000001,1", "1000001,2"], "line 3 repeats the participant"),
    (["participant,A,A", "1000001,1,2"], "name each column once"),
    (["participant,ML4Hseg", "1000001,1"], "not as one of ML4Hseg, ML4Hreg, InlineVF"),
    (["participant,", "1000001,1"], "name each column once"),
])
def test_a_csv_that_breaks_its_contract(tmp_path: Path, lines: list[str], says: str) -> None:
    with pytest.raises(UseError, match=says) as caught:
        from_csv(csv(tmp_path, *lines), KEY)
    assert "1000001" not in str(caught.value)


def test_ids_without_a_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UseError, match="--estimates: participants are given by id, so the data set's key is needed"):
        from_csv(csv(tmp_path, "participant,A", "1000001,1"), None)
    with pytest.raises(UseError, match="--estimates: the CSV cannot be read"):
        from_csv(tmp_path / "absent.csv", KEY)


def save(file: Path, shape: tuple[int, ...] = (4, 5, 3), zooms: tuple[float, ...] = (1.5, 2.0, 10.0),
         label: int = 2) -> None:
    mask = np.zeros(shape, np.uint8)
    mask.flat[:8] = label
    mask.flat[8:20] = 1
    nib.save(nib.Nifti1Image(mask, np.diag([*zooms[:3], 1.0])), file)


def test_grams_of_masks(tmp_path: Path, tiny: Dataset) -> None:
    save(tmp_path / "1000001.nii.gz")
    save(tmp_path / f"{TWO}.nii")
    study, participant = (tiny.index[name][3].as_py() for name in ("study", "participant"))
    save(tmp_path / f"{study}.nii.gz")
    expected = dict.fromkeys((ONE, TWO, participant), 8 * 30 / 1000 * 1.05)
    assert from_masks(files_of(tmp_path, KEY, tiny)) == pytest.approx(expected)


def test_masks_that_break_their_contract(tmp_path: Path, tiny: Dataset) -> None:
    with pytest.raises(UseError, match="--masks: the folder holds no NIfTI file"):
        from_masks(files_of(tmp_path, KEY, tiny))
    save(tmp_path / "1000001.nii.gz")
    save(tmp_path / "1000001.nii")
    with pytest.raises(UseError, match="file 2 is of the same participant as an earlier one"):
        from_masks(files_of(tmp_path, KEY, tiny))
    (tmp_path / "1000001.nii.gz").unlink()
    save(tmp_path / "1000001.nii", (4, 5, 3, 2))
    with pytest.raises(UseError, match="file 1 is not a NIfTI mask that can be read"):
        from_masks(files_of(tmp_path, KEY, tiny))
    save(tmp_path / "1000001.nii", label=3)
    with pytest.raises(UseError, match="file 1 has labels besides 0, 1"):
        from_masks(files_of(tmp_path, KEY, tiny))
    (tmp_path / "1000001.nii").write_bytes(b"no NIfTI")
    with pytest.raises(UseError, match="file 1 is not a NIfTI mask that can be read"):
        from_masks(files_of(tmp_path, KEY, tiny))


def test_outcomes(tmp_path: Path) -> None:
    file = csv(tmp_path, "participant,age,heart failure,diabetes", "1000001,63.5,1,", f"{TWO},,no,true")
    found = outcomes_of(file, KEY)
    assert found["heart failure"].has == {ONE: True, TWO: False}
    assert found["diabetes"].has == {ONE: None, TWO: True}
    assert found["diabetes"].age == {ONE: 63.5, TWO: None}


@pytest.mark.parametrize(("lines", "says"), [
    (["participant,heart failure", "1000001,1"], "the second column is to be `age`"),
    (["participant,age", "1000001,60"], "each further one an outcome"),
    (["participant,age,A", "1000001,600,1"], "line 2 holds an age that nobody has"),
    (["participant,age,A", "1000001,60,2"], "line 2 holds an outcome that is neither"),
    (["participant,age,A", "1000001,old,1"], "line 2 holds an age that is not a number"),
    (["participant,age,A", "1000001,60,1", "1000001,60,1"], "line 3 repeats the participant"),
])
def test_outcomes_that_break_their_contract(tmp_path: Path, lines: list[str], says: str) -> None:
    with pytest.raises(UseError, match=says) as caught:
        outcomes_of(csv(tmp_path, *lines), KEY)
    assert "1000001" not in str(caught.value)


def test_masks_in_a_rows_grid_are_compared_with_its_outlines(tmp_path: Path) -> None:
    place = np.array([[0, 0, 1.8, 5], [0, 1.9, 0, -7], [-10, 0, 0, 3], [0, 0, 0, 1]])
    dataset = write_to(str(tmp_path / "data"), [tiny_row(number, affine=place) for number in range(3)], TENSORIZE)
    outlined = [(number, row) for number, row in scan(dataset, np.arange(3)) if row.mask is not None]
    (_, same), (_, elsewhere), *_ = outlined
    assert same.mask is not None
    assert elsewhere.mask is not None
    write_mask(tmp_path / "masks" / f"{same.participant}.nii.gz", same.mask, same.affine)
    moved = elsewhere.affine.copy()
    moved[0, 3] += 5
    write_mask(tmp_path / "masks" / f"{elsewhere.participant}.nii.gz", elsewhere.mask, moved)
    found = overlaps_of(files_of(tmp_path / "masks", None, dataset), dataset)
    assert found.keys() == {same.participant}
    assert found[same.participant]["myocardium"].dice == 1.0
