"""Who takes part: module, options, and the environment that each runs in; run as processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 180.0
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Failed(Exception):
    """Why a side could not be installed, or did not run: one line."""


@dataclass(frozen=True)
class Side:
    """module: in this folder; data: name of its format's folder in the bucket; packages: what pip installs for it,
    itself first; keeps: whether it keeps a local copy, so that its next epoch is another case."""

    name: str
    module: str
    data: str
    options: dict[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    keeps: bool = False


def _both(module: str, packages: list[str], raw: dict[str, Any], packed: dict[str, Any],
          keeps: bool = False) -> list[Side]:
    """A rival with its format's own compression, and without."""
    return [Side(f"{packages[0]}{suffix}", module, f"{module}{suffix.replace(', ', '-')}", options | {"workers": 2},
                 tuple(packages), keeps) for suffix, options in (("", packed), (", raw", raw))]


OWN = [Side("lvray, Ray", "lvray", "lvray", {"reader": "ray"}),
       Side("lvray, threads", "lvray", "lvray", {"reader": "threads"})]
RIVALS = [
    Side("pyarrow loop", "parquet", "lvray", {"workers": None}),
    *(Side(f"torch DataLoader, {n} workers", "parquet", "lvray", {"workers": n}) for n in (0, 1, 2)),
    *_both("mosaic", ["mosaicml-streaming"], {"compression": None}, {"compression": "zstd:1"}, keeps=True),
    *_both("lit", ["litdata", "zstd"], {"compression": None}, {"compression": "zstd:1"}, keeps=True),
    *_both("wds", ["webdataset"], {"compressed": False}, {"compressed": True}),
    Side("h5py, gzip", "hd5", "hd5", {"workers": 2}),
]


def python_of(side: Side, folder: Path) -> str:
    """The interpreter that a side runs on: this one, or that of a virtual environment of its own, made once, which
    sees this one's packages (torch among them) behind its own. Failed."""
    if not side.packages:
        return sys.executable
    home = folder / side.packages[0]
    done, python = home / "installed", home / "bin" / "python"
    if not done.exists():
        _run([sys.executable, "-m", "venv", "--clear", str(home)])
        beside = sysconfig.get_paths(vars={"base": str(home), "platbase": str(home)})["purelib"]
        (Path(beside) / "beside.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        torch = f"torch=={version('torch').split('+')[0]}"
        _run([str(python), "-m", "pip", "install", "--quiet", *side.packages, torch])
        done.touch()
    return str(python)


def version_of(side: Side, python: str) -> str:
    code = f"from importlib.metadata import version; print(version({side.packages[0]!r}))"
    return _run([python, "-c", code]).strip()


def write(side: Side, python: str, uri: str, rows: int, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _ask(side, python, {"do": "write", "uri": uri, "rows": rows, "cache": str(folder)})


def read(side: Side, python: str, uri: str, rows: int, cache: Path, *, step: float,
         watched: bool = False) -> dict[str, Any]:
    """An epoch -> side.Delivered as a dict. Failed."""
    return _ask(side, python, {"do": "read", "uri": uri, "rows": rows, "cache": str(cache), "step": step,
                               "watched": watched})


def _ask(side: Side, python: str, order: dict[str, Any]) -> dict[str, Any]:
    command = [python, "-W", "ignore", "-m", "scripts.bench.rivals.side", side.module,
               json.dumps(order | {"options": side.options})]
    answer: dict[str, Any] = json.loads(_run(command).splitlines()[-1])
    return answer


def _run(command: list[str]) -> str:
    """stdout. Failed with the last line of what the process said."""
    try:
        done = subprocess.run(command, cwd=ROOT, env=os.environ | THREADS, capture_output=True, text=True,
                              timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"not done after {SECONDS} s") from error
    if done.returncode:
        raise Failed((done.stderr.strip() or f"exit {done.returncode}").splitlines()[-1][:200])
    return done.stdout
