"""Two thousand damaged studies among good ones: each a row or a reject with its reason, and the job ends well."""

from __future__ import annotations

import json
import subprocess
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write_participant
from lvray.errors import Reason
from lvray.shards.dataset import open_dataset, rejects, verify
from lvray.shards.identity import keyed
from tests.chaos import mangle, processes

KEY = "a key for tests, 32 bytes long.."
GOOD = 12
STUDY_SECONDS = 30
WORKER_BYTES = 3 << 29


@pytest.mark.parametrize("mangled", [140, pytest.param(2000, marks=pytest.mark.slow)])
def test_every_damaged_study_is_a_row_or_a_reject(tmp_path: Path, mangled: int) -> None:
    src, dst = tmp_path / "ukb", tmp_path / "shards"
    src.mkdir()
    studies = mangle.sound(src)
    done = {}
    for number in range(mangled):
        what, data = mangle.mangled(studies, mangled, number)
        (src / f"{3_000_000 + number}_20209_2_0.zip").write_bytes(data)
        done[keyed(KEY.encode(), "study", f"{3_000_000 + number}_20209_2_0.zip")] = what
    for number in range(GOOD):
        write_participant(src, 3, 10 + number, PhantomOptions(phases=2, slices=6, rows=64, columns=64))
    command = processes.start("tensorize", src, dst, "--max-rejects", "1", "--json",
                              "--set", f"study_seconds={STUDY_SECONDS}", env={"LVRAY_KEY": KEY})
    over = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watched, command, over)
        out, err = command.communicate()
        over.set()
    peak = watching.result()
    assert command.returncode == 0, err[-2000:]
    assert "Traceback" not in err
    said = json.loads(out)
    assert said["studies"] == mangled + GOOD == said["rows"] + said["refused"]
    dataset = verify(str(dst))
    refused = {line["study"]: line for line in rejects(dataset).to_pylist()}
    assert set(dataset.column("study")) | refused.keys() >= done.keys()
    assert {line["reason"] for line in refused.values()} <= set(Reason) - {Reason.GAVE_UP, Reason.INTERNAL}
    assert all(line["detail"] and "\n" not in line["detail"] for line in refused.values())
    good = {keyed(KEY.encode(), "study", p.name) for p in src.iterdir() if not p.name.startswith("3")}
    assert good <= set(open_dataset(str(dst)).column("study"))
    assert peak < WORKER_BYTES
    print(table(done, set(refused)), f"\npeak memory of a worker {peak / 2**20:.0f} MiB")


def watched(command: subprocess.Popen[str], over: threading.Event) -> int:
    """The most memory that any worker of a command has held, until `over`."""
    peak = 0
    while not over.wait(0.2):
        peak = max([peak, *map(processes.peak_bytes, processes.workers(command.pid))])
    return peak


def table(done: dict[str, str], refused: set[str]) -> str:
    studies, rows = Counter(done.values()), Counter(what for study, what in done.items() if study not in refused)
    return "\n".join(f"{what:22s} {n:5d} studies {rows[what]:5d} rows" for what, n in sorted(studies.items()))
