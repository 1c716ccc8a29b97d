"""Limits around unvetted data, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys

BOUNDED = "from lvray.jobs.guard import bounded\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BOUNDED + code], capture_output=True, text=True, check=False,
                          timeout=60)


def test_work_that_does_not_end_ends_its_process() -> None:
    done = run("with bounded(1):\n  while True: pass")
    assert (done.returncode, done.stderr) == (1, "")


def test_too_much_memory_is_an_error_and_not_a_full_machine() -> None:
    done = run("""
try:
    with bounded(60, memory=1 << 28): bytearray(1 << 29)
except MemoryError:
    print("refused", len(bytearray(1 << 29)))
""")
    assert done.stdout == f"refused {1 << 29}\n"


def test_what_fits_is_left_alone() -> None:
    done = run("import pyarrow\nwith bounded(60): kept = [pyarrow.allocate_buffer(1 << 28), bytearray(1 << 29)]\n"
               "print('done')")
    assert (done.stdout, done.stderr) == ("done\n", "")
