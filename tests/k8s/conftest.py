"""Overlays as kubectl renders them, and the schemas of custom kinds where ../shared is there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.k8s.manifests import K8S, ROOT, Object, render

OVERLAYS = {"eks": ["overlays/eks", "cluster/eks"], "gke": ["overlays/gke", "cluster/gke"],
            "local": ["overlays/local"]}


@pytest.fixture(scope="session")
def overlays() -> dict[str, list[Object]]:
    """What stands in a cluster, by overlay: the overlay itself, and what is applied to the whole cluster before."""
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl to render the manifests with")
    return {name: [found for folder in folders for found in render(K8S / folder)] for name, folders in OVERLAYS.items()}


@pytest.fixture(scope="session")
def crds() -> Path:
    folder = ROOT.parent / "shared" / "crds"
    if not folder.is_dir():
        pytest.skip("no schemas of custom kinds: ../shared/crds is not there")
    return folder
