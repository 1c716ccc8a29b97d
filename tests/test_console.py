"""How the command talks: exit codes, one line an error, progress where there is no terminal."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from lvray import console
from lvray.errors import (
    CheckpointError,
    EnvironmentFault,
    KeyMismatch,
    LvrayError,
    Reason,
    StudyRefused,
    UseError,
)
from lvray.shards.listing import Source

SOURCE = Source(3, "zip", "/data/1234567_20209_2_0.zip", "1234567_20209_2_0.zip")


def _raiser(error: Exception) -> int:
    raise error


@pytest.mark.parametrize(("error", "code"), [
    (LvrayError("it failed"), 1), (UseError("it failed"), 2), (CheckpointError("it failed"), 2),
    (KeyMismatch("it failed"), 2), (StudyRefused(Reason.NO_DICOM, "it failed"), 3),
    (EnvironmentFault("it failed"), 4), (typer.BadParameter("it failed"), 2),
])
def test_each_error_has_its_exit_code_and_one_line(error: Exception, code: int,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    assert console.run(lambda: _raiser(error)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("lvray: ")
    assert "it failed" in err


def test_an_unforeseen_error_tells_its_kind_alone(capsys: pytest.CaptureFixture[str],
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    error = ValueError("/data/1234567_20209_2_0.zip")
    assert console.run(lambda: _raiser(error)) == 1
    err = capsys.readouterr().err
    assert "internal error (ValueError)" in err
    assert "1234567" not in err
    monkeypatch.setenv("LVRAY_DEBUG", "1")
    console.run(lambda: _raiser(error))
    err = capsys.readouterr().err
    assert "tests/test_console.py:" in err
    assert "1234567" not in err


def test_debugging_tells_the_chain_of_errors_but_no_file_of_the_users(
        capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> int:
        try:
            return Path("/nowhere/1234567_20209_2_0.zip").stat().st_size
        except OSError as e:
            raise EnvironmentFault("cannot read SRC") from e

    monkeypatch.setenv("LVRAY_DEBUG", "1")
    assert console.run(fails) == 4
    err = capsys.readouterr().err
    assert err.splitlines()[-1] == "lvray: cannot read SRC"
    assert "FileNotFoundError" in err
    assert "in fails" in err
    assert "1234567" not in err


def test_an_interrupted_command(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()

    @app.command()
    def work() -> None:
        raise KeyboardInterrupt

    assert console.run(lambda: app([], standalone_mode=False)) == console.INTERRUPTED
    assert capsys.readouterr().err.strip() == "lvray: interrupted"


def test_a_reader_that_has_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)  # put back at the end
    assert console.run(lambda: _raiser(BrokenPipeError())) == 0
    sys.stdout.close()


class Clock:
    """Time that passes when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_without_a_terminal_is_a_line_a_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with console.progress("read", clock) as tell:
        for done in range(201):
            tell(done, 200, "1 refused")
            clock.now += 0.5
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert [line.split("  ")[0] for line in lines] == [f"read: {n} of 200" for n in range(20, 201, 20)]
    assert lines[5] == "read: 120 of 200  1 refused, 2.0 a second, 40 s left"
    assert lines[9] == "read: 200 of 200  1 refused, 2.0 a second"


@pytest.mark.parametrize(("seconds", "pace"), [
    (5.0, "2.0 a second, 45 s left"), (200.0, "3.0 a minute, 30 min left"), (7200.0, "5.0 an hour, 18.0 h left")])
def test_the_pace_in_fitting_units(capsys: pytest.CaptureFixture[str], seconds: float, pace: str) -> None:
    clock = Clock()
    with console.progress("read", clock) as tell:
        tell(0, 100)
        clock.now = seconds
        tell(10, 100)
    assert capsys.readouterr().err == f"read: 10 of 100  {pace}\n"


def test_what_an_earlier_run_had_done_does_not_count_as_speed(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with console.progress("train", clock) as tell:
        tell(80, 100)
        clock.now = 10.0
        tell(90, 100)
    assert capsys.readouterr().err.splitlines() == ["train: 80 of 100", "train: 90 of 100  1.0 a second, 10 s left"]


def test_progress_on_a_terminal_shows_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, clock = io.StringIO(), Clock()
    monkeypatch.setattr(console, "err", Console(file=screen, force_terminal=True, width=120))
    with console.progress("read", clock) as tell:
        tell(0, 100, "1 refused")
        clock.now = 5.0
        tell(10, 100, "1 refused")
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", screen.getvalue())
    assert "10/100 1 refused, 2.0 a second, 45 s left" in shown


BEGINS = {"begins": (0, 0), "world": 1, "epochs": 4, "steps": 10}


def pace(samples_per_second: float, waiting: float) -> dict[str, Any]:
    return {"pace": {"samples_per_second": samples_per_second, "waiting": waiting, "seconds": 1.0}}


def test_training_without_a_terminal_is_a_line_a_minute_and_one_a_validation(
        capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with console.training("smoke_seg", clock) as tell:
        tell(BEGINS)
        for step in range(1, 11):
            clock.now += 12.5
            tell({"epoch": 1, "step": step, "loss": 1 / step, "norm": 1.0})
            tell(pace(85.4, 0.021))
        tell({"epoch": 1, "loss": 0.3, "lr": 1e-3, "world": 1, "validation_loss": 0.4, "samples_per_second": 9.96,
              "waiting": 0.1, "seconds": 125.0})
    assert capsys.readouterr().err.splitlines() == [
        "smoke_seg: epoch 1 of 4, step 5 of 10, loss 0.200, 85 samples/s, 2 % waiting for data, 7 min left",
        "smoke_seg: epoch 1 of 4, step 10 of 10, loss 0.100, 85 samples/s, 2 % waiting for data, 6 min left",
        "smoke_seg: epoch 1 of 4, step 10 of 10, loss 0.300, validation 0.400, 10.0 samples/s, 10 % waiting for data,"
        " 6 min left"]


def test_training_that_goes_on_says_from_where_and_does_not_count_what_was_done(
        capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with console.training("smoke_seg", clock) as tell:
        tell(BEGINS | {"begins": (2, 4)})
        tell({"notice": "checkpoint 00002-000006 cannot be used"})
        clock.now = 80.0
        tell({"epoch": 3, "step": 6, "loss": 0.2, "norm": 1.0})
        tell(pace(85.4, 0.0))
        tell(BEGINS | {"begins": (2, 4), "world": 2})
    assert capsys.readouterr().err.splitlines() == [
        "smoke_seg: goes on from epoch 3, step 5", "smoke_seg: checkpoint 00002-000006 cannot be used",
        "smoke_seg: epoch 3 of 4, step 6 of 10, loss 0.200, 85 samples/s, 0 % waiting for data, 9 min left",
        "smoke_seg: goes on from epoch 3, step 5"]


def test_training_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, clock = io.StringIO(), Clock()
    monkeypatch.setattr(console, "err", Console(file=screen, force_terminal=True, width=160))
    with console.training("smoke_seg", clock) as tell:
        tell(BEGINS)
        clock.now = 2.0
        tell({"epoch": 1, "step": 2, "loss": 0.5, "norm": 1.0})
        tell(pace(4.0, 0.02))
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", screen.getvalue())
    assert re.search("smoke_seg \\S+ epoch 1 of 4, step 2 of 10, loss 0.500, 4.0 samples/s, 2 % waiting for data,"
                     " 38 s left", shown)


def test_a_study_is_named_by_position_and_keyed_hash_and_by_path_only_on_demand() -> None:
    assert console.study_name(SOURCE, None, False) == "study 3"
    hashed = console.study_name(SOURCE, b"a key for tests of names", False)
    assert hashed.startswith("study 3 ")
    assert "1234567" not in hashed
    assert console.study_name(SOURCE, b"another key for tests of names", False) != hashed
    assert console.study_name(SOURCE, None, True) == f"study 3 {SOURCE.uri}"


def test_an_estimate_for_people_says_what_is_doubtful() -> None:
    value = {"name": "study 1", "mass_g": None, "method": "contours", "ed_phase": 2, "slices": 3,
             "stack_instances": [3, 4, 5, 6], "spacing_mm": (10.0, 1.5, 1.25), "edv_ml": 100.0, "esv_ml": 40.0,
             "ef": 0.6, "lvmi_g_m2": None, "quality": ["epicardium_absent", "wide_pitch"]}
    first, volumes, flag, wide = console.estimate_text(value).splitlines()
    assert first == "study 1: no LV mass (contours; ED is phase 2; 3 of 4 slices; 10.00 x 1.500 x 1.250 mm)"
    assert volumes == "  EDV 100.0 mL, ESV 40.0 mL, EF 60 %"
    assert flag.startswith("  ! epicardium_absent: ")
    assert wide == "  ! wide_pitch: slices more than 12 mm apart: is every second one missing?"


def test_json_is_one_line_and_holds_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    console.result({"a": 1}, True, str)
    assert json.loads(capsys.readouterr().out) == {"a": 1}
    with pytest.raises(ValueError, match="JSON compliant"):
        console.result({"a": float("nan")}, True, str)
