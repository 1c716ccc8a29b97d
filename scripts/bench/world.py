"""One worker against two, on the same rows: does a second worker of one thread pay on this machine?

    python -m scripts.bench.world [--rounds 3]

The training job on Ray, smoke_seg, each worker of one thread; samples a second as the run's metrics have them, without
the first epoch, in which Ray starts. By turns, round by round. Losses of the two, step by step, are compared too.
A table on stdout, whose last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lvray import recipes
from lvray.jobs.cluster import cluster
from lvray.jobs.train import train
from scripts.bench.memory import made
from scripts.bench.rounds import spread

WORLDS = (1, 2)
ROWS = 48
RECIPE = recipes.override(recipes.smoke_seg(), ["epochs=3", "validate_epochs=1", "patience=null", "network.width=16",
                                                   "network.box=12,64,64"])


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rounds", type=int, default=3)
    rounds = asked.parse_args().rounds
    rates: dict[int, list[float]] = {world: [] for world in WORLDS}
    losses: dict[int, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, cluster():
        data = made(folder, ROWS).uri
        for number in range(rounds):
            for world in WORLDS[::1 if number % 2 else -1]:
                run = f"{folder}/run{number}-{world}"
                train(RECIPE, data, run, workers=(world, world))
                lines: list[Any] = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
                later = [line["samples_per_second"] for line in lines if "lr" in line and line["epoch"] > 1]
                rates[world].append(sum(later) / len(later))
                losses[world] = [line["loss"] for line in lines if "step" in line]
    gain = spread([two / one for one, two in zip(rates[1], rates[2], strict=True)])
    apart = max(abs(one - two) for one, two in zip(losses[1], losses[2], strict=True))
    for world in WORLDS:
        found = spread(rates[world])
        print(f"{world} workers: {found.median:.2f} samples/s ({found.low:.2f} to {found.high:.2f})")
    print(f"two over one: {gain.median:.2f} ({gain.low:.2f} to {gain.high:.2f}); losses of {len(losses[1])} steps"
          f" {apart:.1e} apart at most")
    print(json.dumps({"two_over_one": asdict(gain), "rates": {w: asdict(spread(r)) for w, r in rates.items()},
                      "losses_apart": apart, "steps": len(losses[1])}))


if __name__ == "__main__":
    main()
