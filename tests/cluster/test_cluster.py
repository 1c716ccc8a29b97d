"""lvray on real clusters of this machine (tests/cluster/__main__.py): the jobs, the service, and what may happen to a
run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chaos import processes
from tests.cluster.names import answer
from tests.k8s.manifests import ROOT

TOOLS = ("ip", "unshare", "nsenter", "setpriv", "pivot_root", "kubectl")
SECONDS = 1800


def test_dns_knows_services_alone() -> None:
    asked = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    name = b"\x05store\x05lvray\x03svc\x07cluster\x05local\x00"
    found = answer(asked + name + b"\x00\x01\x00\x01", {"store": "10.88.0.2"})
    assert found[:2] == b"\x12\x34"
    assert found[-4:] == bytes([10, 88, 0, 2])
    assert answer(asked + name + b"\x00\x1c\x00\x01", {"store": "10.88.0.2"})[3:8] == b"\x80\x00\x01\x00\x00"  # no IPv6
    assert answer(asked + name + b"\x00\x01\x00\x01", {})[3] & 15 == 3


@pytest.fixture
def root() -> None:
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if os.geteuid() or missing:
        pytest.skip(f"pods of processes want root and {', '.join(missing or TOOLS)}")


def start(log: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.cluster", str(log)], cwd=ROOT)


@pytest.mark.usefixtures("root")
def test_nothing_is_left_of_it_when_it_is_killed(tmp_path: Path) -> None:
    log, before = tmp_path / "log", interfaces()
    with start(log) as process:
        while "phantoms" not in (log.read_text() if log.exists() else ""):
            assert process.poll() is None
            time.sleep(0.05)
        left = processes.descendants(process.pid)
        process.kill()
    assert any("weed" in processes.title(pid) for pid in left)
    while any(Path(f"/proc/{pid}").exists() for pid in left):
        time.sleep(0.05)
    assert interfaces() == before


@pytest.mark.slow
@pytest.mark.usefixtures("root")
def test_lvray_on_a_cluster(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with start(log) as process:
        code = process.wait(SECONDS)
    assert code == 0, log.read_text()[-8000:]


def interfaces() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}
