"""What a search costs, and whether it finds anything: eight trials of the decay on phantoms.

    python -m scripts.bench.search [--work DIR] [--participants 100] [--trials 8]

The cohort of scripts/bench/learning.py, smaller; smoke_seg for EPOCHS epochs, one trial at a time, by the job that
`lvray tune` is. Full runs of all trials would be trials x EPOCHS epochs; trial 0 is the recipe as it stands and here
always trained to its end. A table on stdout, whose last line is one JSON object, with each bound of the project.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from pathlib import Path

from lvray import recipes
from lvray.cli import searching
from lvray.jobs import space
from lvray.jobs.cluster import cluster
from lvray.jobs.tune import tune
from scripts.bench.learning import made

EPOCHS = 18
RECIPE = recipes.override(recipes.smoke_seg(), [
    "network.box=10,64,64", f"epochs={EPOCHS}", "validate_epochs=1", "saving.seconds=30"])
MINUTES, SHARE = 12.0, 0.5


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--work", type=Path)
    asked.add_argument("--participants", type=int, default=100)
    asked.add_argument("--trials", type=int, default=8)
    options = asked.parse_args()
    with contextlib.ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(cluster())
        dataset = made(work, options.participants)
        began = time.monotonic()
        with searching.shown(RECIPE.name) as tell:
            search = tune(RECIPE, dataset.uri, str(work / "search"), space.DEFAULT, trials=options.trials, tell=tell)
        minutes = (time.monotonic() - began) / 60
    found = search.summary
    share = found["epochs"] / found["epochs_of_full_runs"]
    default = found["trials"][0]["validation_loss"]
    print(searching.text({"best_checkpoint": search.best, **found}))
    print(f"{minutes:.1f} minutes, {share:.0%} of the epochs of full runs; the recipe itself: {default:.5g}")
    print(json.dumps({"minutes": minutes, "share_of_epochs": share, "default": default, **found, "holds": {
        "minutes": minutes < MINUTES, "epochs": share <= SHARE,
        "no worse than the recipe": found["best"]["validation_loss"] <= default}}))


if __name__ == "__main__":
    main()
