"""lvray's own weights from nothing: generated hearts, training, and the files that come with lvray.

    python -m scripts.weights.make WORK [--export-only]

Twice the same bytes on the same hardware. Killed, the same command goes on. On two cores with bf16 over an hour,
most of it training. Afterwards judge.py says what they can do.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from lvray.jobs.checkpoints import read
from lvray.jobs.start import slim
from lvray.nets.checkpoint import to_files
from lvray.weights import own

HEARTS, SEED = 4000, 0
SPLITS = {"validation": 0.05, "calibration": 0.05, "holdout": 0.05}
RECIPE = "own_seg"


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("work", type=Path)
    asked.add_argument("--export-only", action="store_true", help="of a run that is there")
    args = asked.parse_args()
    hearts, run = args.work / "shards", args.work / "seg"
    if not args.export_only:
        if not (hearts / "manifest-1.json").exists():
            lvray("generate", "--out", hearts, "--hearts", HEARTS, "--seed", SEED,
                  *(f"--set=splits.{name}={share}" for name, share in SPLITS.items()))
        lvray("train", RECIPE, "--data", hearts, "--run", run)
    export(run / "best", Path(own.located(own.DEFAULT)))
    return 0


def lvray(*arguments: object) -> None:
    subprocess.run([Path(sys.executable).with_name("lvray"), *map(str, arguments)], check=True)


def export(checkpoint: Path, to: Path) -> None:
    """Without what only training would need: a third of the bytes."""
    to.mkdir(parents=True, exist_ok=True)
    for name, blob in to_files(slim(read(str(checkpoint)))).items():
        (to / name).write_bytes(blob)


if __name__ == "__main__":
    sys.exit(main())
