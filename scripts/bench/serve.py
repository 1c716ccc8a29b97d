"""The service beside a bare loop and beside a plain server: the same studies, weights and cores, by turns.

    lvray phantom --out ukb --participants 8
    python -m scripts.bench.serve --src ukb [--rounds 3] [--seconds 30] [--overload 60]

Bare: two processes of one thread read the zips from memory and pass them through the network, no server. Plain:
scripts/bench/plain.py, two uvicorn processes. lvray: two readers and two replicas of the network, of one thread. In
each round each of them answers eight clients that ask one study after the other; then both servers get half of what the
slower one did, at even intervals, for their latencies; at the end lvray gets four times what it can do, and every
request must be answered 200 or 503. Clients share the two cores; all sides are as nice as Ray's workers and have the
environment of lvray's network. Networks: smoke_seg's size and the paper's, untrained. Progress on stderr; a table on
stdout, whose last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from lvray.jobs.cluster import cluster
from lvray.nets.predict import Predictor, load
from lvray.nets.step import ENVIRONMENT
from lvray.serving import app
from lvray.serving.reader import Arguments
from lvray.settings import Serve
from scripts.bench.load import Load, closed, overloaded, paced, tree_bytes
from scripts.bench.plain_work import answer
from scripts.bench.predict import NICENESS, say, text, untrained
from scripts.bench.rounds import spread

NETWORKS = ("smoke_seg", "paper_seg")
SIDES = 2
HALF, OVER = 0.5, 4.0
AT_LEAST = 0.85
OWN = {**ENVIRONMENT, "OMP_NUM_THREADS": "1"}
"""Environment of a replica of the network."""


_held: tuple[Predictor, list[bytes]]


def _hold(checkpoint: Path, bodies: list[bytes]) -> None:
    global _held
    os.nice(NICENESS)
    torch.set_num_threads(1)
    _held = load(checkpoint), bodies
    answer(bodies[0], _held[0])


def _loop(seconds: float) -> float:
    began = time.perf_counter()
    for done, body in enumerate(itertools.cycle(_held[1]), 1):
        answer(body, _held[0])
        if (taken := time.perf_counter() - began) >= seconds:
            return done / taken
    raise AssertionError


def started(checkpoint: Path, bodies: list[bytes], stack: ExitStack) -> Iterator[ProcessPoolExecutor]:
    """The bare processes, in the environment that a replica of the network has, as the plain server is."""
    for number in range(SIDES):
        side = stack.enter_context(ProcessPoolExecutor(1, get_context("spawn")))
        with environment():
            side.submit(_hold, checkpoint, bodies[number:] + bodies[:number]).result()
        yield side


@contextmanager
def environment() -> Iterator[None]:
    own = {name: os.environ.get(name) for name in OWN}
    os.environ |= OWN
    yield
    for name, value in own.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


def bare(sides: list[ProcessPoolExecutor], seconds: float) -> float:
    """Studies a second of all sides at once."""
    return sum(turn.result() for turn in [side.submit(_loop, seconds) for side in sides])


@contextmanager
def plain(checkpoint: Path) -> Iterator[str]:
    port = free_port()
    uvicorn = [sys.executable, "-m", "uvicorn", "scripts.bench.plain:api", "--port", str(port), "--workers", str(SIDES)]
    server = subprocess.Popen(["nice", f"-n{NICENESS}", *uvicorn, "--no-access-log", "--log-level", "error"],
                              env={**os.environ, **OWN, "PLAIN_CHECKPOINT": str(checkpoint)})
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def bench(network: str, bodies: list[bytes], args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    checkpoint = untrained(network, folder / network)
    rates: dict[str, list[float]] = {"bare": [], "plain": [], "lvray": []}
    late: dict[str, Load] = {}
    with ExitStack() as stack:
        sides = list(started(checkpoint, bodies, stack))
        urls = {"plain": stack.enter_context(plain(checkpoint)),
                "lvray": app.start(Arguments(seg=str(checkpoint), open=True, settings=Serve()), port=free_port())}
        stack.callback(app.stop)
        for url in urls.values():
            wait_for(url, bodies)
        for number in range(args.rounds):
            say(f"{network}: round {number + 1} of {args.rounds}")
            rates["bare"].append(bare(sides, args.seconds))
            for name, url in urls.items():
                rates[name].append(asyncio.run(closed(url, bodies, args.seconds)).rate)
        half = HALF * min(spread(rates[name]).median for name in urls)
        for name, url in urls.items():
            say(f"{network}: latency of {name} at {half:.2f} a second")
            late[name] = asyncio.run(paced(url, bodies, args.seconds * 2, half))
        idle, rate = tree_bytes(), OVER * spread(rates["lvray"]).median
        say(f"{network}: overload, {rate:.1f} a second")
        over, peak = asyncio.run(overloaded(urls["lvray"], bodies, args.overload, rate))
    return show(network, rates, late, over, (idle, peak))


def wait_for(url: str, bodies: list[bytes]) -> None:
    """Until every process behind it has answered."""
    loads = Load()
    while loads.statuses[0] == loads.statuses.total():
        loads = asyncio.run(closed(url, bodies, 1))


def show(network: str, rates: dict[str, list[float]], late: dict[str, Load], over: Load,
         memory: tuple[int, int]) -> dict[str, Any]:
    """Prints a network's table -> its part of the JSON object."""
    print(f"\n{network}")
    found: dict[str, Any] = {}
    for name, taken in rates.items():
        rate = spread(taken)
        share = spread([one / of for one, of in zip(taken, rates["bare"], strict=True)])
        line = f"{name:6} {text(rate)} studies/s, {text(share)} of bare"
        found[name] = {"rate": asdict(rate), "share": asdict(share)}
        if name in late:
            p50, p99 = late[name].quantile(0.5), late[name].quantile(0.99)
            line += f"; at half load p50 {1e3 * p50:.0f} ms, p99 {1e3 * p99:.0f} ms of {len(late[name].taken)}"
            found[name] |= {"p50_s": p50, "p99_s": p99, "half_load": dict(late[name].statuses)}
        print(line)
    against = spread([one / of for one, of in zip(rates["lvray"], rates["plain"], strict=True)])
    print(f"lvray over plain: {text(against)}")
    print(f"overload: {dict(over.statuses)} in {over.seconds:.0f} s, {over.rate:.2f} studies/s; memory"
          f" {memory[0] >> 20} MiB before, {memory[1] >> 20} MiB at most")
    found |= {"over_plain": asdict(against), "overload": dict(over.statuses), "overload_rate": over.rate,
              "memory_mib": [one >> 20 for one in memory],
              "holds": {"bare": found["lvray"]["share"]["median"] >= AT_LEAST, "plain": against.median > 1,
                        "overload": set(over.statuses) <= {200, 503}}}
    return found


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--src", required=True, help="a folder of zips")
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--seconds", type=float, default=30)
    asked.add_argument("--overload", type=float, default=60)
    asked.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    args = asked.parse_args()
    bodies = [path.read_bytes() for path in sorted(Path(args.src).glob("*.zip"))[:8]]
    found: dict[str, Any] = {"study_mb": sum(map(len, bodies)) / len(bodies) / 2**20}
    with tempfile.TemporaryDirectory() as folder:
        for network in args.networks:
            with cluster():
                found[network] = bench(network, bodies, args, Path(folder))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
