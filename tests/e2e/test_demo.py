"""The demo as a user runs it: the whole command, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
LVRAY = Path(sys.executable).with_name("lvray")
GONE_SECONDS = 20.0


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's folder, after a first run with its defaults; the path is relative to where the command starts."""
    where = tmp_path_factory.mktemp("demo")
    made = subprocess.run([LVRAY, "demo"], cwd=where, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert "report: demo-out/report/report.html" in made.stdout
    assert [p.name for p in where.iterdir()] == ["demo-out"]
    return where / "demo-out"


def test_the_segmenter_beats_predicting_the_mean(out: Path) -> None:
    report = json.loads((out / "report" / "report.json").read_text())
    rows = {(row["method"], row["centred"]): row for row in report["evaluation"]["rows"]}
    segmenter = rows["ML4Hseg", True]
    assert segmenter["agreement"]["n"] >= 6
    assert segmenter["margin"]["margin_g"] > 0
    assert "closer than predicting the mean" in report["headline"]


def test_its_checkpoint_predicts_one_of_its_studies(out: Path) -> None:
    study = min((out / "ukb").glob("*.zip"))
    said = subprocess.run([LVRAY, "predict", study, "--checkpoint", out / "seg" / "best", "--json"],
                          capture_output=True, text=True)
    assert said.returncode == 0
    assert "demo_weights" in json.loads(said.stdout)["quality"]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
def test_ctrl_c_leaves_no_process_and_the_next_run_works(out: Path) -> None:
    command = [str(LVRAY), "demo", "--out", str(out), "--participants", "24"]
    mark = f"lvray-demo-{os.getpid()}-{time.time_ns()}"
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                          start_new_session=True, env=os.environ | {"LVRAY_TEST_MARK": mark}) as demo:
        assert demo.stderr is not None
        while not demo.stderr.readline().startswith("smoke_seg:"):
            assert demo.poll() is None
        assert len(marked(mark)) > 3  # Ray's own are among them
        os.killpg(demo.pid, signal.SIGINT)
        assert demo.stderr.read().splitlines()[-1] == "lvray: interrupted"
    assert demo.returncode == 130
    deadline = time.monotonic() + GONE_SECONDS
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left
    assert subprocess.run(command, capture_output=True).returncode == 0


def marked(mark: str) -> list[str]:
    """Command lines of the processes whose environment holds the mark."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().decode())
        except OSError:
            continue
    return found
