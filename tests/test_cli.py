"""The command: help, options, and a clear line with an exit code for everything that can be wrong with a study."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import nibabel as nib
import numpy as np
import pydicom
import pytest

from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write_participant
from lvray.errors import Stopped
from lvray.nets.build import build
from lvray.nets.checkpoint import Checkpoint, write
from lvray.recipes import ALL, named, override
from lvray.settings import Splits, Tensorize
from tests.shards.conftest import make_row, write_to

Lvray = Callable[..., Any]
EID = "7654321"
COMMANDS = {
    "phantom": ["--out", "--participants", "--seed", "--phases", "--slices", "--rows", "--columns"],
    "generate": ["--out", "--hearts", "--seed", "--set", "--json"],
    "tensorize": ["--phases", "--labels", "--contours", "--link", "--splits", "--key", "--max-rejects", "--set",
                  "--json"],
    "shards show": ["--sheet", "--json"],
    "shards verify": [],
    "train": ["--data", "--run", "--workers", "--set", "--from", "--resume", "--track", "--json"],
    "recipes": ["--json"],
    "checkpoint show": ["--json"],
    "calibrate": ["--data", "--level", "--trained-on", "--json"],
    "evaluate": ["--data", "--out", "--checkpoint", "--split", "--estimates", "--masks", "--outcomes", "--trained-on",
                 "--allow-leakage", "--no-pictures", "--hide-small", "--key", "--json"],
    "measure": ["--contours", "--mask", "--key", "--show-paths", "--json"],
    "predict": ["--checkpoint", "--out", "--mask", "--image", "--masks", "--key", "--max-rejects", "--set",
                "--show-paths", "--json"],
    "serve": ["--checkpoint", "--host", "--port", "--keys", "--set"],
    "tune": ["--data", "--run", "--trials", "--concurrent", "--space", "--seed", "--workers", "--set", "--track",
             "--json"],
    "link": ["--src", "--key"],
    "submit": ["--address", "--ship", "--env", "--json"],
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
    assert {"mass_g", "method", "ed_phase", "ed_instances", "stack_instances", "spacing_mm", "slices", "quality",
            "edv_ml", "esv_ml", "ef", "lvmi_g_m2"} <= set(found)
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


@pytest.mark.parametrize("kind", ["seg", "reg"])
def test_a_study_of_another_pitch_than_the_training_studies_is_flagged(lvray: Lvray, study: Path, tmp_path: Path,
                                                                      kind: str) -> None:
    ranges: dict[str, list[float]] = {"dy_mm": [1, 9], "dx_mm": [1, 9], "slices": [1, 20], "mass_g": [-1e4, 1e4]}
    for name, pitch in (("same", [9.0, 11.0]), ("thinner", [8.0, 8.0])):
        write(tmp_path / name, untrained(kind, {"dz_mm": pitch, **ranges}))
        [found] = lvray("predict", study, "--checkpoint", tmp_path / name, "--json").objects()
        assert ("spacing_outside_training" in found["quality"]) == (name == "thinner")
    assert "! spacing_outside_training: " in lvray("predict", study, "--checkpoint", tmp_path / "thinner").out


def untrained(kind: str, ranges: dict[str, list[float]]) -> Checkpoint:
    """A segmenter that calls myocardium what is brighter than the mean; a regressor that knows nothing."""
    settings = override(ALL[f"smoke_{kind}"](), ["network.width=2", "network.box=6,32,32"]).model_dump(mode="json")
    model: Any = build(kind, 2, (6, 32, 32), True)
    for p in model.parameters():
        p.data.zero_()
    if kind == "seg":
        model.encoder.stem.weight.data[0, 0, 1, 1, 1] = 1
        model.fine.weight.data[2, 0] = 1
    return Checkpoint(settings=settings, weights=model.state_dict(), optimiser={"state": {}, "param_groups": []},
                      scheduler={}, epoch=0, step=0, seed=0, data="", version="0.1.0", mode={}, world=1,
                      trained_on=ranges, metrics={})


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
    (["predict", "STUDY", "--checkpoint", "absent"], 2, "no finished checkpoint there"),
    (["predict", "STUDY", "STUDY", "--mask", "m.nii.gz", "--checkpoint", "absent"], 2, "--mask names one file"),
    (["predict", "STUDY", "--out", "o", "--image", "e.nii.gz"], 2, "--mask and --image are of one study"),
    (["predict", "STUDY", "--image", "m.png", "--checkpoint", "absent"], 2, "--image: give a name that ends"),
    (["predict", "STUDY", "STUDY", "--out", "o", "--checkpoint", "absent"], 2, "with --out give one source"),
    (["tensorize", "STUDY", "OUT", "--key", "absent"], 2, "--key: cannot read the key file"),
    (["tensorize", "STUDY", "s3://bucket/shards"], 2, "an object store needs a key"),
    (["tensorize", "STUDY", "OUT", "--set", "splits.holdot=1"], 2, "did you mean splits.holdout"),
    (["tensorize", "STUDY", "OUT", "--max-rejects", "3"], 2, "'--max-rejects'"),
    (["train", "smoke_sge", "--data", "d", "--run", "r"], 2, "there are: paper_reg"),
    (["train", "smoke_seg", "--data", "d", "--run", "r", "--set", "epohcs=1"], 2, "did you mean epochs"),
    (["train", "smoke_seg", "--data", "d", "--run", "r", "--workers", "9"], 2, "9 workers need at least as many"),
    (["train", "smoke_seg", "--data", "d", "--run", "r", "--workers", "2..9"], 2, "9 workers need at least as many"),
    *[(["train", "smoke_seg", "--data", "d", "--run", "r", "--workers", wrong], 2,
       "--workers: a number from 1 on is wanted, or two as in 2..4")
      for wrong in ("0", "4..2", "2..", "two", "2-4", "0..2")],
    (["train", "smoke_seg", "--data", "d", "--run", "r", "--track", "wandb"], 2, "'--track'"),
    (["recipes", "smoke_sge"], 2, "did you mean smoke_seg?"),
    (["checkpoint", "show", "absent"], 4, "cannot read the checkpoint: No such file or directory"),
    (["checkpoint", "show", "STUDY"], 2, "no finished checkpoint there"),
    (["train", "smoke_seg", "--run", "r"], 2, "Missing option '--data'"),
    (["shards", "show", "absent"], 4, "cannot read the data set: No such file or directory"),
    (["shards", "show", "gopher://x"], 2, "lvray reads plain paths, file:// and s3://"),
    (["link", "absent.csv", "--src", "STUDY", "--key", "absent.key"], 2, "--key: cannot read the key file"),
    (["tune", "paper_seg", "--data", "d", "--run", "r", "--trials", "0"], 2, "'--trials'"),
    (["tune", "paper_seg", "--data", "d", "--run", "r", "--space", "absent.json"], 2, "--space: the file cannot be"),
    (["tune", "paper_seg", "--data", "absent", "--run", "r"], 4, "cannot read the data set: No such file"),
    (["serve", "--checkpoint", "absent"], 2, "no finished checkpoint there"),
    (["serve", "--checkpoint", "absent", "--set", "queu=1"], 2, "did you mean queue"),
    (["serve", "--checkpoint", "absent", "--set", "readers.most=1"], 2, "most=1 is fewer than replicas=2"),
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


def test_the_images_that_a_mask_lies_on(lvray: Lvray, study: Path, tmp_path: Path) -> None:
    mask, image = tmp_path / "mask.nii.gz", tmp_path / "ed.nii.gz"
    said = lvray("predict", study, "--mask", mask, "--image", image, "--json")
    assert said.code == 0, said.err
    one, other = (nib.nifti1.Nifti1Image.from_filename(file) for file in (mask, image))
    assert one.shape == other.shape
    np.testing.assert_array_equal(one.affine, other.affine)
    assert np.ptp(np.asarray(other.dataobj)) > 100


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


def test_the_recipes_are_listed_and_printed(lvray: Lvray, tmp_path: Path) -> None:
    listed = lvray("recipes")
    assert (listed.code, listed.err) == (0, "")
    assert [line.split()[0] for line in listed.out.splitlines()] == list(ALL)
    assert list(lvray("recipes", "--json").objects()[0]) == list(ALL)
    shown = lvray("recipes", "fast_reg").out.splitlines()
    assert {"network.pitch=true", "optimiser.plateau=null", "network.centre=\"heart\""} <= set(shown)
    assert override(ALL["paper_reg"](), shown) == ALL["fast_reg"]()


@pytest.mark.parametrize("name", ALL)
def test_a_printed_recipe_is_a_recipe_file(lvray: Lvray, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.json").write_text(lvray("recipes", name, "--json").out)
    assert named(str(tmp_path / "mine.json")) == ALL[name]()
    assert lvray("recipes", tmp_path / "mine.json").out == lvray("recipes", name).out


def test_the_recipes_come_without_torch_and_ray() -> None:
    code = ("import sys; from lvray import cli; cli.app(['recipes', 'fast_seg'], standalone_mode=False);"
            "print([m for m in ('torch', 'ray', 'pydicom') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


@dataclass(frozen=True)
class Made:
    """As a finished run's `Run`."""

    best: str = "runs/seg/best"
    set_aside: int = 0
    history: tuple[dict[str, float], ...] = ({"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25})


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """The training job and its cluster, neither of which is there."""
    stand_in = Mock(return_value=Made())
    monkeypatch.setitem(sys.modules, "lvray.jobs.train", Mock(train=stand_in))
    monkeypatch.setitem(sys.modules, "lvray.jobs.cluster", Mock(cluster=nullcontext))
    return stand_in


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set for both networks with row groups of 4 rows and nobody to validate on."""
    uri = str(tmp_path_factory.mktemp("shards"))
    splits = Splits(validation=0.0, calibration=0.0, holdout=0.1)
    write_to(uri, [make_row(number, splits) for number in range(16)], Tensorize(group_rows=4, splits=splits))
    return uri


@pytest.mark.parametrize(("given", "workers"), [([], (1, 1)), (["--workers", "2"], (2, 2)),
                                                (["--workers", "2..4"], (2, 4))])
def test_train_hands_the_job_what_it_is_told(lvray: Lvray, job: Mock, given: list[str],
                                             workers: tuple[int, int]) -> None:
    said = lvray("train", "smoke_seg", "--data", "d", "--run", "r", *given, "--json")
    assert (said.code, said.err) == (0, "")
    assert said.objects() == [{"best": "runs/seg/best", "epoch": 2, "loss": 0.25}]
    assert job.call_args.args == (ALL["smoke_seg"](), "d", "r")
    asked = job.call_args.kwargs
    assert (asked["workers"], asked["resume"], asked["track"]) == (workers, False, ())


def test_train_resumes_and_tracks_when_asked(lvray: Lvray, job: Mock) -> None:
    lvray("train", "smoke_reg", "--data", "d", "--run", "r", "--resume", "--track", "mlflow", "--track", "tensorboard")
    assert job.call_args.kwargs["resume"] is True
    assert job.call_args.kwargs["track"] == ("mlflow", "tensorboard")


def test_train_warns_of_settings_without_effect_and_goes_on(lvray: Lvray, job: Mock, shards: str) -> None:
    sets = ["epochs=1", "target.mean_g=80", "optimiser.plateau=2", "step.accumulate=3"]
    said = lvray("train", "smoke_seg", "--data", shards, "--run", "r", "--workers", "2..4", "--json",
                 *(f"--set={assignment}" for assignment in sets))
    assert said.code == 0
    assert [line.partition(" has no effect: ")[0] for line in said.err.splitlines()] == [
        f"lvray: warning: --set {name}" for name in ("target.mean_g", "optimiser.plateau", "step.accumulate")]
    assert len(said.objects()) == 1
    assert job.call_args.args[0].epochs == 1
    two_rows = lvray("train", "smoke_seg", "--data", shards, "--run", "r", "--workers", "2..4",
                     "--set=step.accumulate=2")
    assert two_rows.err == ""


def test_train_says_who_was_left_out(lvray: Lvray, job: Mock) -> None:
    job.return_value = Made(set_aside=3)
    said = lvray("train", "smoke_seg", "--data", "d", "--run", "r")
    assert said.err == "lvray: 3 studies have more slices than network.box and were left out\n"
    assert said.out == "best checkpoint: runs/seg/best (report.html beside it)\n"


def test_a_run_told_to_end_says_where_it_goes_on(lvray: Lvray, job: Mock) -> None:
    job.side_effect = Stopped("stopped and saved after step 17 of epoch 5: the same command goes on from there")
    said = lvray("train", "smoke_seg", "--data", "d", "--run", "r", "--json")
    assert (said.code, said.out, said.err.count("\n")) == (143, "", 1)
    assert "step 17 of epoch 5: the same command" in said.err


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
