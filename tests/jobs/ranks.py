"""The training loop in plain processes that meet in gloo, without Ray, and the deaths that they are told to die.

    python -m tests.jobs.ranks '{"worlds": [2, 1], "data": URI, "run": URI, "recipe": {...}, "deaths": [[1, 0, 7, 9]]}'

Each attempt forks the workers anew, worlds[i] of them (the last number from then on); in attempt i worker
deaths[i][0] is sent signal deaths[i][3] as it is about to do step (epoch, step) = deaths[i][1:3]. Attempts go on until
one ends well. Prints what the first worker told, a JSON object a line, {"attempt": i} ahead of each attempt, and
{"exits": [...]} after it: the workers' exit codes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lvray.errors import LvrayError
from lvray.jobs import loop
from lvray.jobs.board import Line, Order
from lvray.jobs.job import Job, Place
from lvray.jobs.mode import mode_of
from lvray.jobs.selection import selected
from lvray.jobs.state import Position
from lvray.settings import Recipe
from lvray.shards.dataset import open_dataset

SECONDS = 120
Death = tuple[int, int, int, int]


@dataclass
class Printing:
    """A Link that prints; SIGTERM is an order to stop."""

    order: Order = "go"

    def __post_init__(self) -> None:
        signal.signal(signal.SIGTERM, self._told)

    def _told(self, *_: object) -> None:
        self.order = "stop"

    def tell(self, lines: list[Line]) -> None:
        sys.stdout.write("".join(json.dumps(line) + "\n" for line in lines))
        sys.stdout.flush()

    def asked(self) -> Order:
        return self.order

    def saved(self, order: Order, position: Position) -> None:
        self.tell([{"saved": position}])

    def validated(self, entry: Line) -> None:
        pass


def worker(rank: int, world: int, meeting: str, data: str, run: str, recipe: dict[str, Any],
           death: Death | None) -> None:
    settings = Recipe.model_validate(recipe)
    torch.set_num_threads(settings.threads)
    if world > 1:
        torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    if death is not None and death[0] == rank:
        _die_at(*death[1:])
    place, link = Place(rank, world, torch.device("cpu"), "threads"), Printing()
    dataset = open_dataset(data)
    mode = mode_of(settings, run, place)
    try:
        loop.run(Job(settings, mode, dataset, selected(dataset, settings), run, place, link))
    except LvrayError as fault:
        link.tell([{"fault": str(fault)}])
        sys.exit(fault.exit_code)
    os._exit(1 if link.order == "stop" else 0)  # gloo's threads need not be waited for


def _die_at(epoch: int, step: int, number: int) -> None:
    doing = loop._step

    def dying(job: Job, at: Any, position: Position, batch: Any) -> Line:
        if position == (epoch, step):
            os.kill(os.getpid(), number)
        return doing(job, at, position, batch)

    vars(loop)["_step"] = dying


def main(worlds: list[int], data: str, run: str, recipe: dict[str, Any], deaths: list[Death]) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(len(deaths) + 1):
        print(json.dumps({"attempt": attempt}), flush=True)
        world = worlds[min(attempt, len(worlds) - 1)]
        with tempfile.TemporaryDirectory() as folder:
            meeting = str(Path(folder) / "meeting")
            death = deaths[attempt] if attempt < len(deaths) else None
            started = [context.Process(target=worker, args=(rank, world, meeting, data, run, recipe, death))
                       for rank in range(world)]
            for process in started:
                process.start()
            for process in started:
                process.join(SECONDS)
                if process.exitcode is None:
                    process.kill()
                    process.join()
            print(json.dumps({"exits": [process.exitcode for process in started]}), flush=True)
            if all(process.exitcode == 0 for process in started):
                return
        if started[0].exitcode not in (1, -signal.SIGKILL):
            sys.exit(started[0].exitcode)
    sys.exit("no attempt ended well")


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
