"""lvray's own weights from nothing: generated hearts, training, real patients among them, and the files that come with
lvray.

    python -m scripts.weights.make WORK

    WORK/shards, WORK/seg              generated hearts, and the network trained on them alone
    WORK/real/shards, WORK/real/run    the Sunnybrook patients among hearts (mixed.py), and what goes on with those

Twice the same bytes on the same hardware. Killed, the same command goes on. On two cores with bf16 some 95 minutes,
most of it training. Afterwards judge.py says what they can do, and leave_one_out.py what they can on people.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from lvray.jobs.checkpoints import read
from lvray.jobs.start import slim
from lvray.nets.checkpoint import to_files
from lvray.shards import manifest
from lvray.weights import own
from scripts.weights import mixed
from scripts.weights.patients import FOLDER, patients

HEARTS, SEED = 4000, 0
SPLITS = {"validation": 0.05, "calibration": 0.05, "holdout": 0.05}


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("work", type=Path)
    args = asked.parse_args()
    if not FOLDER.exists():
        print("the Sunnybrook patients are not here: lay the data set beside the project, as patients.py looks for it",
              file=sys.stderr)
        return 4
    hearts, run = args.work / "shards", args.work / "seg"
    if not (hearts / manifest.name(1)).exists():
        lvray("generate", "--out", hearts, "--hearts", HEARTS, "--seed", SEED,
              *(f"--set=splits.{name}={share}" for name, share in SPLITS.items()))
    lvray("train", mixed.RECIPE, "--data", hearts, "--run", run)
    mixed.write(args.work / "real" / "shards", list(patients()))
    go_on(str(run / "best"), args.work / "real")
    export(args.work / "real" / "run" / "best", Path(own.located(own.DEFAULT)))
    return 0


def go_on(start: str, folder: Path) -> None:
    """From the weights at `start` on, with folder/shards, to folder/run."""
    lvray("train", mixed.RECIPE, "--from", start, "--data", folder / "shards", "--run", folder / "run",
          *(f"--set={change}" for change in mixed.CHANGES))


def lvray(*arguments: object) -> None:
    subprocess.run([Path(sys.executable).with_name("lvray"), *map(str, arguments)], check=True)


def export(checkpoint: Path, to: Path) -> None:
    """Without what only training would need: a third of the bytes."""
    to.mkdir(parents=True, exist_ok=True)
    for name, blob in to_files(slim(read(str(checkpoint)))).items():
        (to / name).write_bytes(blob)


if __name__ == "__main__":
    sys.exit(main())
