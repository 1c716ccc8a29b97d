"""The CPU image, built of the sources as they stand and run as a pod runs it. Slow; needs root, and what scripts/image
once fetched into build/image: a test fetches nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lvray import __version__
from tests.k8s.container import TOOLS, Container, described, root, told_to_end
from tests.k8s.manifests import ROOT

FOLDER = ROOT / "build" / "image"
PATIENCE_S = 900

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def image() -> dict[str, Any]:
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        pytest.skip(f"no {', '.join(missing)} to build and run the image with")
    if os.geteuid():
        pytest.skip("only root may build and run the image")
    if not (FOLDER / "store").is_dir():
        pytest.skip("no build/image: scripts/image fetches what it is built of")
    subprocess.run([ROOT / "scripts" / "image"], check=True, stdout=subprocess.DEVNULL)
    return described(FOLDER)


@pytest.fixture(scope="module")
def container(image: dict[str, Any]) -> Iterator[Container]:
    with root(FOLDER) as files:
        yield Container(files, image["config"])


@pytest.fixture(scope="module")
def tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all containers here have at /tmp, one after the other."""
    folder = tmp_path_factory.mktemp("tmp")
    os.chown(folder, 1000, 1000)
    return folder


def test_layers_that_change_rarely_come_first(image: dict[str, Any]) -> None:
    sizes = [layer["size"] for layer in image["manifest"]["layers"]]
    assert len(sizes) >= 4
    assert sum(sizes[-3:]) < 0.01 * sum(sizes), sizes  # lvray itself, which changes


def test_it_writes_nowhere_but_in_tmp(tmp: Path, container: Container) -> None:
    probe = ("import os, pathlib, lvray\n"
             "print(os.getuid(), os.getgid(), lvray.__version__)\n"
             "print([line for line in pathlib.Path('/proc/self/status').read_text().splitlines()"
             " if line.startswith(('CapEff', 'NoNewPrivs'))])\n"
             "for folder in '/opt/lvray', '/usr', '/etc', '/var/tmp', '/tmp':\n"
             "    try:\n"
             "        pathlib.Path(folder, 'mark').touch()\n"
             "    except OSError as e:\n"
             "        print(folder, e.strerror)\n")
    with container.running(tmp, "python", "-c", probe) as running:
        said, _ = running.communicate(timeout=PATIENCE_S)
    assert said.splitlines() == [
        f"1000 1000 {__version__}", "['CapEff:\\t0000000000000000', 'NoNewPrivs:\\t1']",
        *(f"{folder} Read-only file system" for folder in ("/opt/lvray", "/usr", "/etc", "/var/tmp"))]


def test_demo_and_service(tmp: Path, container: Container) -> None:
    with container.running(tmp, "lvray", "demo") as demo:
        said, _ = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 0, said[-2000:]
    assert "report: demo-out/report/report.html" in said
    assert (tmp / "demo-out" / "report" / "report.html").stat().st_size > 100_000

    with container.running(tmp, "lvray", "serve", "--checkpoint", "demo-out/seg/best") as serve:
        assert serve.stdout is not None
        assert any(line.startswith("ready") for line in serve.stdout), serve.wait()
        answer = container.beside(serve, "wget", "--quiet", "--output-document=-", "http://127.0.0.1:8000/healthz")
        assert (answer.returncode, answer.stdout) == (0, '{"status":"ok"}'), answer.stderr
        told_to_end(serve)
        assert serve.wait(PATIENCE_S) == 0
