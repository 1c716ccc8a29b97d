"""A Ray cluster of several nodes on this machine. Every node is processes of its own, which can be killed."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import processes
from tests.weed import free_ports

RAY = Path(sys.executable).with_name("ray")
SECONDS = 120


@dataclass
class Node:
    """`ray start --block`, and all that it started. id: Ray's."""

    process: subprocess.Popen[bytes]
    id: str

    def kill(self) -> None:
        """SIGKILL of everything, as a machine that is lost."""
        processes.kill([self.process.pid, *processes.descendants(self.process.pid)])
        self.process.wait()

    def kill_raylet(self) -> None:
        """SIGKILL of the raylet alone: its workers notice."""
        processes.kill([pid for pid in processes.descendants(self.process.pid) if "raylet/raylet" in
                        processes.title(pid)])


@dataclass
class Cluster:
    """env: of the nodes' processes, more than the usual. In `environment` is what a command needs to use it.

    dashboard: whether there is one, at the URL `dashboard_url`; token: whether the cluster asks for one. In `folder`
    are Ray's logs.
    """

    cpus: int
    env: Mapping[str, str] = field(default_factory=dict)
    dashboard: bool = False
    token: bool = True
    nodes: list[Node] = field(default_factory=list)

    def __enter__(self) -> Cluster:
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))  # sockets lie there: a short name; and no other finds it
        gcs, *others = free_ports(4)
        self._address, self.dashboard_url = f"127.0.0.1:{gcs}", f"http://127.0.0.1:{others[0]}"
        self.environment = {
            "RAY_ADDRESS": self._address,
            **({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)} if self.token else
               {"RAY_AUTH_MODE": "disabled"}),
            "RAY_num_workers_soft_limit": "8", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5", "RAY_USAGE_STATS_ENABLED": "0"}
        self.add(self.cpus, "--head", f"--port={self._address.partition(':')[2]}", f"--temp-dir={self.folder}",
                 "--node-ip-address=127.0.0.1",
                 *([f"--dashboard-port={others[0]}", "--dashboard-host=127.0.0.1",
                    f"--dashboard-agent-listen-port={others[1]}", f"--ray-client-server-port={others[2]}"]
                   if self.dashboard else ["--include-dashboard=false"]))
        return self

    def __exit__(self, *_: object) -> None:
        for node in reversed(self.nodes):
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, cpus: int, *options: str) -> Node:
        """Another node, once it is up."""
        log = self.folder / f"node-{len(self.nodes)}"
        options = options or (f"--address={self._address}",)
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(RAY), "start", *options, f"--num-cpus={cpus}", "--block", "--object-store-memory=100000000",
                 "--min-worker-port=0", "--max-worker-port=0"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env={name: value for name, value in {**os.environ, **self.env, **self.environment}.items()
                     if name != "RAY_ADDRESS"})
        self.nodes.append(Node(process, ""))
        started = time.monotonic()
        while "Ray runtime started" not in (said := log.read_text()):
            if process.poll() is not None or time.monotonic() - started > SECONDS:
                raise RuntimeError(f"ray start does not:\n{said[-2000:]}")
            time.sleep(0.05)
        self.nodes[-1].id = self._node_id(process.pid)
        return self.nodes[-1]

    def drain(self, node: Node, seconds: int) -> None:
        """Ray's notice that a node will be taken away."""
        subprocess.run([str(RAY), "drain-node", "--address", self._address, "--node-id", node.id, "--reason",
                        "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "test", "--deadline-remaining-seconds",
                        str(seconds)], check=True, capture_output=True, env={**os.environ, **self.environment})

    @staticmethod
    def _node_id(pid: int) -> str:
        """From the command line of the node's raylet or agent."""
        lines = " ".join(processes.title(child) for child in processes.descendants(pid))
        found = re.search(r"--node[-_]id[= \0]([0-9a-f]{56})", lines)
        assert found, lines
        return found[1]
