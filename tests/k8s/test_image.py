"""The Dockerfile: hadolint, the versions that it names, and what of the lock goes into an image."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.k8s.manifests import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_hadolint() -> None:
    tool = Path(sys.executable).with_name("hadolint")
    if not tool.exists():
        pytest.skip("no hadolint beside this Python")
    done = subprocess.run([tool, "--no-color", "--failure-threshold", "warning", ROOT / "Dockerfile"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_two_images_of_one_user() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)", DOCKERFILE, re.MULTILINE)
    assert stages[-2:] == ["lvray", "lvray-gpu"]
    assert re.findall(r"^USER (.*)", DOCKERFILE, re.MULTILINE) == ["1000:1000", "0:0", "1000:1000"]
    assert "useradd --uid 1000 " in DOCKERFILE
    assert re.search(r"^ARG BASE=[\w./-]+:[\w.-]+(@sha256:[0-9a-f]{64})?$", DOCKERFILE, re.MULTILINE)


def test_versions_are_those_of_the_project() -> None:
    (torch,) = re.findall(r"pip install (torch==\S+)", DOCKERFILE)
    pinned = PROJECT["project"]["dependencies"]
    assert torch in pinned
    (ray,) = [line.partition("==")[2] for line in pinned if line.startswith("ray[")]
    base = "\n".join(path.read_text() for path in (ROOT / "k8s" / "base").rglob("*.yaml"))
    assert set(re.findall(r"rayVersion: (\S+)", base)) == {ray}


def test_runtime_takes_what_lvray_needs_and_no_more() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "runtime"], capture_output=True, text=True, check=True)
    made = done.stdout
    listed = set(re.findall(r"^([a-z0-9.-]+)(?:\[\S+\])?==", made, re.MULTILINE))
    wanted = {re.split(r"[\[><=]", line)[0].lower() for line in PROJECT["project"]["dependencies"]} - {"torch"}
    tested = {re.split(r"[\[><=]", line)[0].lower() for line in PROJECT["dependency-groups"]["dev"]}
    assert wanted <= listed
    assert not listed & (tested - wanted - {"pyyaml", "jsonschema"})
    blocks = re.split(r"^(?=[a-z0-9])", made, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(listed)
    assert all("--hash=sha256:" in block for block in blocks)
    assert made == "".join(block for block in blocks if block in (ROOT / "requirements.lock").read_text())


def test_manifests_take_both_images() -> None:
    text = "\n".join(path.read_text() for path in (ROOT / "k8s" / "base" / "pods").glob("*.yaml"))
    assert set(re.findall(r"image: (\S+)", text)) == {"lvray", "lvray-gpu"}
