"""Ray clusters of pods, made of a RayJob's or RayService's spec as KubeRay 1.7 makes them: a head and its groups, the
command that starts Ray, its environment. Nothing is restarted by itself: `replace` and a new cluster are the operator's
part, and the test's."""

from __future__ import annotations

import json
import secrets
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import processes
from tests.cluster.names import DOMAIN
from tests.cluster.pods import Env, Network, Pod, wait_for
from tests.k8s.manifests import CLUSTER_FIELD, Object

OBJECTS = 0.3
"""Ray's own share for its object store, of the memory limit that it would find in the pod's cgroup."""
GCS, DASHBOARD, AGENT, METRICS = 6379, 8265, 52365, 8080


@dataclass
class RayCluster:
    """owner: the RayJob or RayService. replicas: of a group, in place of the manifest's."""

    network: Network
    owner: Object
    replicas: dict[str, int] = field(default_factory=dict)
    workers: list[Pod] = field(default_factory=list)
    head: Pod = field(init=False)

    def __post_init__(self) -> None:
        spec = self.owner["spec"][CLUSTER_FIELD[self.owner["kind"]]]
        self.name = f"{self.owner['metadata']['name']}-{secrets.token_hex(3)}"
        self._service = f"{self.name}-head-svc"
        self._host = f"{self._service}.{DOMAIN}"
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.auth: Env = token if spec.get("authOptions", {}).get("mode") == "token" else {}
        self._started: list[Pod] = []
        self._head_group = spec["headGroupSpec"]
        self._groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}

    def start(self) -> None:
        """Until Ray has every pod as a node."""
        options = {"head": "true", "dashboard-host": "0.0.0.0"}
        self.head = self._pod("head", self._head_group, options, f"127.0.0.1:{GCS}")
        self.network.names[self._service] = self.head.address
        wait_for(lambda: self._nodes() is not None, f"the head of {self.name}")
        for name, group in self._groups.items():
            for _ in range(self.replicas.get(name, group["replicas"])):
                self._worker(group)
        self.wait()

    def stop(self) -> None:
        """At once, whatever runs."""
        for pod in self._started:
            pod.kill()

    @property
    def dashboard(self) -> str:
        return f"http://{self.head.address}:{DASHBOARD}"

    def wait(self) -> None:
        """Until Ray has every pod that lives as a node."""
        wanted = {pod.address for pod in (*self.workers, self.head) if pod.alive}
        wait_for(lambda: self._nodes() == wanted, f"the nodes of {self.name}")

    def replace(self, pod: Pod) -> Pod:
        """A new pod of the group of one that has gone."""
        self.workers.remove(pod)
        made = self._worker(self._groups[pod.env["RAY_NODE_TYPE_NAME"]])
        self.wait()
        return made

    def of(self, group: str) -> list[Pod]:
        return [pod for pod in self.workers if pod.env["RAY_NODE_TYPE_NAME"] == group]

    def training(self) -> list[Pod]:
        """The pods in which Ray Train has workers, one entry a worker."""
        return [pod for pod in self.workers for _ in processes.trainers(pod.process.pid)]

    def ask(self, path: str, body: Any = None) -> Any:
        """The head's dashboard: a GET, or a PUT of JSON."""
        headers = {"Content-Type": "application/json"}
        if self.auth:
            headers["Authorization"] = f"Bearer {self.auth['RAY_AUTH_TOKEN']}"
        asked = urllib.request.Request(f"{self.dashboard}{path}", headers=headers,
                                       data=None if body is None else json.dumps(body).encode(),
                                       method="GET" if body is None else "PUT")
        with urllib.request.urlopen(asked, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def _nodes(self) -> set[str] | None:
        """Addresses of the nodes that live; None where the head does not answer."""
        if not self.head.alive:
            raise RuntimeError(f"{self.head.name} has ended:\n{self.head.log.read_text()[-2000:]}")
        try:
            found = self.ask("/api/v0/nodes")["data"]["result"]["result"]
        except OSError:
            return None
        return {node["node_ip"] for node in found if node["state"] == "ALIVE"}

    def _worker(self, group: Object) -> Pod:
        made = self._pod(group["groupName"], group, {"address": f"{self._host}:{GCS}"}, f"{self._host}:{GCS}")
        self.workers.append(made)
        return made

    def _pod(self, called: str, group: Object, options: dict[str, str], address: str) -> Pod:
        """options: of `ray start`; address: that the pod's own processes use."""
        template = group["template"]["spec"]
        limits = template["containers"][0]["resources"]["limits"]
        memory = int(limits["memory"].removesuffix("Gi")) << 30
        options = {"num-cpus": limits["cpu"], "memory": str(memory), "object-store-memory": str(int(memory * OBJECTS)),
                   "metrics-export-port": str(METRICS), "dashboard-agent-listen-port": str(AGENT),
                   **options, **group["rayStartParams"]}
        words = ["ulimit -n 65536; ray start --block",
                 *(f"--{name}" if value == "true" else f"--{name}={value}" for name, value in options.items())]
        self._started.append(self.network.pod(
            f"{self.name}-{called}", template, ["/bin/bash", "-c", "--", " ".join(words)],
            {"RAY_CLUSTER_NAME": self.name, "RAY_NODE_TYPE_NAME": called, "RAY_ADDRESS": address, "RAY_PORT": str(GCS),
             "FQ_RAY_IP": self._host, "RAY_IP": self._service, "RAY_USAGE_STATS_KUBERAY_IN_USE": "1",
             **self.auth}))
        return self._started[-1]
