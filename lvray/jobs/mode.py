"""How a run computes its steps: measured when it begins, then read from mode.json: a resume never changes it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import torch

from lvray.errors import UseError
from lvray.jobs.job import Place
from lvray.nets.build import build
from lvray.nets.mode import choose, hardware
from lvray.nets.step import Mode
from lvray.settings import Recipe
from lvray.shards import storage
from lvray.shards.patience import patiently

FILE = "mode.json"


def mode_of(recipe: Recipe, run: str, place: Place) -> Mode:
    """The run's mode. The first worker measures where the settings say "auto" and none is kept; the others wait."""
    where = storage.join(run, FILE)
    if place.rank == 0 and not patiently(lambda: storage.exists(where, FILE)):
        network, step = recipe.network, recipe.step
        mode = choose(network.kind, lambda: build(network.kind, network.width, network.box, network.pixel_size,
                                                  network.pitch),
                      network.box, -(-recipe.stream.batch // place.world), place.device, precision=step.precision,
                      channels_last=step.channels_last, compile=step.compile)
        kept = {"mode": asdict(mode), "hardware": hardware(place.device)}
        text = json.dumps(kept, indent=1, sort_keys=True).encode() + b"\n"
        patiently(lambda: storage.put_if_absent(where, text, FILE))
    if place.world > 1:
        torch.distributed.barrier()
    kept = patiently(lambda: read(run))
    if kept["hardware"]["device"] != place.device.type:
        raise UseError(f"the run began on {kept['hardware']['device']}, and this is {place.device.type}: go on where it"
                       " began, or give another --run")
    return Mode(**kept["mode"])


def read(run: str) -> dict[str, Any]:
    """mode.json: the mode, and the hardware that it was chosen on. UseError: it is damaged."""
    try:
        found: dict[str, Any] = json.loads(storage.read_bytes(storage.join(run, FILE), FILE))
        Mode(**found["mode"])
    except (ValueError, KeyError, TypeError) as error:
        raise UseError(f"{FILE} of the run is damaged: give another --run") from error
    return found
