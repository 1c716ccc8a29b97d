"""The command: help, options, and a clear line with an exit code for everything that can be wrong with a study."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write_participant
from lvray.recipes import ALL

Lvray = Callable[..., Any]
EID = "7654321"
COMMANDS = {
    "phantom": ["--out", "--participants", "--seed", "--phases", "--slices", "--rows", "--columns"],
    "tensorize": ["--phases", "--labels", "--contours", "--link", "--splits", "--key", "--max-rejects", "--set",
                  "--json"],
    "shards show": ["--sheet", "--json"],
    "shards verify": [],
    "train": ["--data", "--run", "--workers", "--set", "--json"],
    "evaluate": ["--data", "--out", "--checkpoint", "--estimates", "--masks", "--key", "--json"],
    "measure": ["--contours", "--mask", "--key", "--show-paths", "--json"],
    "predict": ["--checkpoint", "--out", "--mask", "--key", "--max-rejects", "--show-paths", "--json"],
    "serve": ["--checkpoint", "--port"],
    "tune": [],
    "link": ["--src", "--key"],
    "demo": ["--out", "--participants", "--samples"],
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom's study as a folder, under a name that holds an id: a short axis of one image a slice and phase."""
    made = tmp_path_factory.mktemp("phantom")
    folder = made / f"{EID}_study"
    with zipfile.ZipFile(write_participant(made, 0, 0, PhantomOptions(2, 6, 64, 64))) as archive:
        archive.extractall(folder)
    for file in folder.glob("*.dcm"):
        if not any(word in str(pydicom.dcmread(file, stop_before_pixels=True).SeriesDescription)
                   for word in ("_InlineVF", "_b")):
            file.unlink()
    return folder


@pytest.fixture
def bad(study: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(study, tmp_path / study.name))


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.dcm"))


def edit(folder: Path, change: Callable[[pydicom.Dataset], object], keep: Callable[[Any], bool] = bool) -> None:
    for file in files(folder):
        image = pydicom.dcmread(file)
        if keep(image):
            change(image)
            image.save_as(file)


def no_dicom(folder: Path) -> None:
    for file in files(folder):
        file.unlink()


def truncated_file(folder: Path) -> None:
    files(folder)[3].write_bytes(files(folder)[3].read_bytes()[:-3000])


def text_named_dcm(folder: Path) -> None:
    (folder / "note.dcm").write_text("this is no image, whatever its name says\n" * 20)


def missing_slice(folder: Path) -> None:
    places = {file: float(pydicom.dcmread(file).SliceLocation) for file in files(folder)}
    third = sorted(set(places.values()))[2]
    for file, place in places.items():
        if place == third:
            file.unlink()


def one_slice(folder: Path) -> None:
    places = {file: float(pydicom.dcmread(file).SliceLocation) for file in files(folder)}
    for file, place in places.items():
        if place != min(places.values()):
            file.unlink()


def two_patients(folder: Path) -> None:
    first = files(folder)[0]
    image = pydicom.dcmread(first)
    image.PatientID = "1112223"
    image.save_as(first)


def spacing_zero(folder: Path) -> None:
    edit(folder, lambda image: setattr(image, "PixelSpacing", [0, 0]))


def spacing_absent(folder: Path) -> None:
    edit(folder, lambda image: delattr(image, "PixelSpacing"))


SPOILT: dict[Callable[[Path], None], str] = {
    no_dicom: "no_dicom", truncated_file: "unreadable_file", text_named_dcm: "unreadable_file",
    missing_slice: "missing_slice", one_slice: "single_slice", two_patients: "several_patients",
    spacing_zero: "bad_spacing", spacing_absent: "bad_spacing",
}


def test_a_good_study_is_measured(lvray: Lvray, study: Path) -> None:
    said = lvray("measure", study, "--json")
    assert (said.code, said.err) == (0, "")
    [found] = said.objects()
    assert {"mass_g", "method", "ed_phase", "ed_instances", "spacing_mm", "slices", "quality", "edv_ml", "esv_ml", "ef",
            "lvmi_g_m2"} <= set(found)
    assert (found["method"], found["ed_phase"], found["study"]) == ("overlay", 1, 1)
    assert EID not in said.out
    assert f"LV mass {found['mass_g']:.1f} g" in lvray("measure", study).out


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_a_bad_study_is_one_line_and_exit_3(lvray: Lvray, bad: Path, spoil: Callable[[Path], None]) -> None:
    spoil(bad)
    said = lvray("measure", bad, "--json")
    assert said.code == 3
    [refusal] = said.objects()
    assert refusal["refused"] == SPOILT[spoil]
    assert said.err == f"study 1: {refusal['detail']} [{refusal['refused']}]\n"
    for secret in (EID, str(bad.parent), "Planted", "1112223", "Traceback"):
        assert secret not in said.out + said.err


def test_a_zip_that_points_outside_itself(lvray: Lvray, study: Path, tmp_path: Path) -> None:
    evil = tmp_path / f"{EID}_20209_2_0.zip"
    with zipfile.ZipFile(evil, "w") as archive:
        archive.write(files(study)[0], "../escaped.dcm")
    said = lvray("measure", evil)
    assert (said.code, said.out) == (3, "")
    assert said.err == "study 1: member 1 of the zip points outside it; nothing was read [unsafe_archive]\n"
    assert not (tmp_path.parent / "escaped.dcm").exists()


def test_names_order_and_zip_change_no_digit(lvray: Lvray, study: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "shuffled.zip", "w") as archive:
        for number, file in enumerate(reversed(files(study))):
            archive.write(file, f"{(number * 7919) % 1000:03}/{number}")
    plain, zipped = (lvray("measure", where, "--json").out for where in (study, tmp_path / "shuffled.zip"))
    assert plain == zipped


def test_paths_are_shown_only_on_demand_and_a_key_adds_the_hash(lvray: Lvray, bad: Path, tmp_path: Path) -> None:
    no_dicom(bad)
    assert str(bad) in lvray("measure", bad, "--show-paths").err
    key = tmp_path / "key"
    key.write_text("a key for tests, long enough")
    name = lvray("measure", bad, "--key", key, "--json").objects()[0]["name"]
    assert name.startswith("study 1 ")
    assert len(name) == len("study 1 ") + 12


@pytest.mark.parametrize(("arguments", "code", "says"), [
    (["measure", f"/nowhere/{EID}.zip"], 2, "study 1: not there, or neither a folder nor a .zip"),
    (["measure", "STUDY", f"/nowhere/{EID}.zip"], 2, "unexpected extra argument"),
    (["measure", "STUDY", "--contours", "a", "--mask", "b"], 2, "give --contours or --mask, not both"),
    (["measure", "STUDY", "--mask", f"{EID}.nii.gz"], 2, "--mask: there is no file of that name"),
    (["measure", "STUDY", "--contours", EID], 2, "--contours: there is no folder of that name"),
    (["predict", "STUDY"], 2, "`lvray demo` trains demonstration weights"),
    (["predict", "STUDY", "--checkpoint", "absent"], 2, "no finished checkpoint there"),
    (["predict", "STUDY", "STUDY", "--mask", "m.nii.gz", "--checkpoint", "absent"], 2, "--mask names one file"),
    (["predict", "STUDY", "STUDY", "--out", "o", "--checkpoint", "absent"], 2, "with --out give one source"),
    (["tensorize", "STUDY", "OUT", "--key", "absent"], 2, "--key: cannot read the key file"),
    (["tensorize", "STUDY", "s3://bucket/shards"], 2, "an object store needs a key"),
    (["tensorize", "STUDY", "OUT", "--set", "splits.holdot=1"], 2, "did you mean splits.holdout"),
    (["tensorize", "STUDY", "OUT", "--max-rejects", "3"], 2, "'--max-rejects'"),
    (["train", "smoke_sge", "--data", "d", "--run", "r"], 2, "there are: paper_reg"),
    (["train", "smoke_seg", "--data", "d", "--run", "r", "--set", "epohcs=1"], 2, "did you mean epochs"),
    (["train", "smoke_seg", "--data", "d", "--run", "r", "--workers", "9"], 2, "9 workers need at least as many"),
    (["train", "smoke_seg", "--run", "r"], 2, "Missing option '--data'"),
    (["shards", "show", "absent"], 4, "cannot read the data set: No such file or directory"),
    (["shards", "show", "gopher://x"], 2, "lvray reads plain paths, file:// and s3://"),
    (["link", "absent.csv", "--src", "STUDY", "--key", "absent.key"], 2, "--key: cannot read the key file"),
    (["tune", "paper_seg", "--trials", "9"], 2, "tune comes with a later version"),
    (["trian"], 2, "Did you mean 'train'?"),
    ([f"{EID}_20209_2_0.zip"], 2, "lvray: No such command (--help says more)"),
])
def test_wrong_use_is_one_line_before_any_work(lvray: Lvray, study: Path, tmp_path: Path, arguments: list[str],
                                               code: int, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LVRAY_KEY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    said = lvray(*({"STUDY": str(study), "OUT": str(tmp_path / "out")}.get(a, a) for a in arguments))
    assert (said.code, said.out, said.err.count("\n")) == (code, "", 1)
    assert says in said.err
    assert EID not in said.err
    assert not [p for p in tmp_path.iterdir() if p.name != "config"]


def test_a_mask_that_is_none_refuses_the_study(lvray: Lvray, study: Path, tmp_path: Path) -> None:
    (tmp_path / "mask.nii.gz").write_text("no NIfTI")
    said = lvray("measure", study, "--mask", tmp_path / "mask.nii.gz")
    assert said.code == 3
    assert "the mask is not a NIfTI file that can be read" in said.err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_and_the_options_that_there_are(lvray: Lvray, command: str) -> None:
    said = lvray(*command.split(), "--help")
    assert (said.code, said.err) == (0, "")
    assert "Example: lvray " in said.out
    lines = [line.lstrip() for line in said.out.splitlines()]
    listed = [word for line in lines if line.startswith("-") for word in line.split() if word.startswith("--")]
    assert list(dict.fromkeys(listed)) == [*COMMANDS[command], "--help"]


def test_help_lists_every_command_and_the_exit_codes(lvray: Lvray) -> None:
    said = lvray("--help")
    assert said.code == 0
    assert all(f"  {command.split()[0]} " in said.out for command in COMMANDS)
    assert "Exit codes: 0 done" in said.out
    assert all(recipe in lvray("train", "--help").out for recipe in ALL)


def test_the_installed_command_answers_as_its_exit_code_says(study: Path, bad: Path) -> None:
    command = [str(Path(sys.executable).with_name("lvray")), "measure", "--json"]
    good = subprocess.run([*command, study], capture_output=True, text=True)
    assert (good.returncode, good.stderr, json.loads(good.stdout)["method"]) == (0, "", "overlay")
    no_dicom(bad)
    assert subprocess.run([*command, bad], capture_output=True).returncode == 3
