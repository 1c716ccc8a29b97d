"""Imports go one way (design.md), every module is listed here, and the README's file tree is complete."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lvray"


@dataclass(frozen=True)
class Layer:
    """What modules may import. third: packages of others; late: those inside functions only; own: parts of lvray."""

    third: str = ""
    own: str = ""
    late: str = ""


CORE = "lvray errors settings"
ALL_BELOW = f"{CORE} recipes weights cmr shards nets evidence estimate"
LAYERS = {
    "errors": Layer(),
    "settings": Layer("pydantic"),
    "recipes": Layer("pydantic", CORE),
    "weights": Layer(),
    "cmr": Layer("numpy pydicom skimage", f"{CORE} cmr"),
    "cmr.nifti": Layer("numpy nibabel", f"{CORE} cmr"),
    "shards": Layer("numpy pyarrow fsspec botocore", f"{CORE} cmr shards", late="boto3"),
    "shards.stream": Layer("numpy pyarrow", f"{CORE} shards", late="ray"),
    "shards.rest": Layer("ray"),
    "shards.order": Layer("numpy"),
    "nets": Layer("numpy torch", "errors nets", late="safetensors"),
    "evidence": Layer("numpy scipy statsmodels surface_distance matplotlib jinja2", "lvray errors evidence"),
    "estimate": Layer("numpy", "lvray errors cmr nets evidence weights"),
    "jobs": Layer("numpy pyarrow nibabel pydantic torch ray", f"{ALL_BELOW} jobs console"),
    "jobs.space": Layer("optuna pydantic", f"{CORE} recipes"),
    "jobs.tpe": Layer("optuna ray", "jobs"),
    "jobs.track": Layer("torch", f"{ALL_BELOW} jobs", late="mlflow"),
    "serving": Layer("numpy pydicom highdicom torch ray fastapi starlette python_multipart pydantic"
                     " prometheus_client PIL skimage", f"{ALL_BELOW} serving"),
    "console": Layer("rich typer", f"{CORE} cmr shards"),
    "cli": Layer("typer rich", f"{ALL_BELOW} jobs serving console cli"),
}
"""The longest name that a module begins with holds. Nobody lists `cli`; `serving` does not list `jobs`."""

MODULES = {
    "lvray": "console errors estimate recipes settings",
    "lvray.cli": "checkpoint data demo estimates options parcel searching serving submitting training",
    "lvray.cmr": "archive codestream contours dicom ed file geometry header heart mass measure nifti phases pixels"
                 " quality study",
    "lvray.cmr.generated": "anatomy contrast curves draws paint sample scanner stack surroundings",
    "lvray.cmr.phantom": "headers heart images outlines participant people scan signal torso ukb",
    "lvray.evidence": "agreement bootstrap calibration centering columns conformal correlation details disclosure"
                      " evaluation figures hypertrophy indices limits outcomes overlap page paired people plots"
                      " published report search subgroups table training",
    "lvray.jobs": "apart board calibrate checkpoints claim cluster demo estimates evaluate external fit gauges"
                  " generate guard in_order job link loop metrics mode nonfinite outcomes phantom pipeline predict"
                  " prepare real report rows selection sheet show space start state submission tensorize told tpe track"
                  " train trial tune validate worker",
    "lvray.nets": "augment batch box build checkpoint layers losses mode pieces predict regressor resample segmenter"
                  " step trained",
    "lvray.serving": "app ask desk documents edge forms front intake keys listening messages meter network picture"
                     " problems reader reading seg sheet source sr web",
    "lvray.shards": "cells convert dataset disk folders given identity index labels listing manifest order parts"
                    " patience read rest s3 schema seen splits standing storage stream studies writer",
    "lvray.weights": "own",
}
"""Every public module. A new one is added on purpose: here, and where it opens a package in the README's file tree."""


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Module name to source tree; packages by their own name."""
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p
             for p in sorted(PACKAGE.rglob("*.py"))}
    return {name: ast.parse(path.read_text()) for name, path in names.items()}


def imports(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Each dotted name that is imported, and whether inside a function."""
    late = {id(inner) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)
            for inner in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((f"{node.module}.{alias.name}", id(node) in late) for alias in node.names)


def layer_of(module: str) -> Layer:
    parts = module.split(".")[1:]
    return next(LAYERS[name] for n in range(len(parts), 0, -1) if (name := ".".join(parts[:n])) in LAYERS)


def forbidden(module: str, tree: ast.Module) -> list[str]:
    layer, found = layer_of(module), []
    for name, late in imports(tree):
        top, *rest = name.split(".")
        if top in sys.stdlib_module_names:
            continue
        if top == "lvray":
            part = rest[0] if rest and f"lvray.{rest[0]}" in modules() else "lvray"
            allowed = layer.own.split()
        else:
            part, allowed = top, layer.third.split() + (layer.late.split() if late else [])
        if part not in allowed:
            found.append(f"{module} imports {name}")
    return found


@pytest.mark.parametrize("module", [m for m in modules() if m != "lvray"])
def test_imports_go_one_way(module: str) -> None:
    assert not forbidden(module, modules()[module])


@pytest.mark.parametrize(("module", "source"), [
    ("lvray.cmr.study", "import torch"), ("lvray.cmr.study", "def f():\n  import ray"),
    ("lvray.cmr.ed", "import pandas"), ("lvray.cmr.study", "import nibabel"),
    ("lvray.cmr.mass", "from lvray.shards import storage"),
    ("lvray.shards.read", "def f():\n  import ray"), ("lvray.shards.stream", "import ray"),
    ("lvray.shards.order", "from lvray.errors import UseError"),
    ("lvray.nets.build", "from lvray.settings import Recipe"),
    ("lvray.nets.build", "import safetensors"), ("lvray.evidence.table", "import torch"),
    ("lvray.serving.app", "from lvray.jobs import train"), ("lvray.jobs.demo", "from lvray import cli"),
    ("lvray.estimate", "from lvray.shards import storage"), ("lvray.errors", "import lvray")])
def test_the_test_finds_what_is_forbidden(module: str, source: str) -> None:
    assert forbidden(module, ast.parse(source))


def test_every_module_is_listed() -> None:
    packages = {p.parent for p in PACKAGE.rglob("__init__.py")}
    found = {".".join(p.relative_to(ROOT).parts): {f.stem for f in p.glob("[!_]*.py")} for p in packages}
    assert {name: set(listed.split()) for name, listed in MODULES.items()} == found


@pytest.mark.parametrize("package", MODULES)
def test_packages_hold_a_docstring_alone(package: str) -> None:
    tree = modules()[package]
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1 or package in ("lvray", "lvray.cli")


@pytest.mark.parametrize("module", modules())
def test_every_module_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(modules()[module])


def test_the_readmes_file_tree_is_complete() -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("no README yet")
    tree = re.search(r"^lvray/\n(.*?)^\S+/ ", readme.read_text(), re.M | re.S)
    assert tree, "the README has no file tree that begins with lvray/"
    wanted = [f"{m}.py" for m in MODULES["lvray"].split()]
    wanted += [f"{package.split('.')[1]}/" for package in MODULES if package.count(".") == 1]
    assert [name for name in wanted if not re.search(rf"(?<![\w/]){re.escape(name)}", tree[1])] == []


@pytest.mark.parametrize(("imported", "absent"), [
    ("lvray.shards.read lvray.shards.convert lvray.shards.stream", "torch ray"),
    ("lvray.shards.order", "pyarrow pydicom pydantic torch ray"),
    ("lvray.nets.predict lvray.nets.losses lvray.nets.augment", "pydicom pydantic pyarrow ray safetensors"),
    ("lvray.evidence.report", "torch ray pydicom"), ("lvray.estimate", "ray pyarrow"),
    ("lvray.serving.reader", "torch"), ("lvray.cli", "torch ray pydicom")])
def test_what_an_import_brings_along(imported: str, absent: str) -> None:
    """Ray's read tasks import shards.read and convert in fresh processes: seconds and memory for each."""
    code = f"import sys, {', '.join(imported.split())}; print([m for m in {absent.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
