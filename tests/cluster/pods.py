"""Pods without Kubernetes: each an address, a root file system and processes of its own, by Linux's namespaces.

Everything here is made within the namespaces of one outer process (`python -m tests.cluster`), and ends with it.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import processes
from tests.cluster.names import RESOLV, serve
from tests.k8s.manifests import ROOT, Object

SANDBOX = Path(__file__).with_name("sandbox.sh")
PYTHON = Path(sys.prefix) / "bin"
USER = "1000"
APART = ("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--ipc", "--uts")
UNPRIVILEGED = ("setpriv", f"--reuid={USER}", f"--regid={USER}", f"--groups={USER}", "--no-new-privs",
                "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all")
IMAGE = {"PATH": f"{PYTHON}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "HOME": "/tmp"}
"""What the Dockerfile sets. In place of the image: this checkout, its Python, and the machine's /usr."""
RUN = Path("/run")
"""Of the outer process's own mounts, in memory."""
BRIDGE = "lvray0"
NODE = "10.88.0.1"
"""The outer process, on the bridge."""

PATIENCE_S = 120.0

Env = Mapping[str, str]
Secrets = Mapping[str, Mapping[str, str]]


@dataclass
class Pod:
    """name: its own for ever. process: `unshare`, whose only child is the pod's process 1."""

    name: str
    address: str
    env: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes]

    def children(self) -> list[int]:
        """Of `unshare`: the pod's process 1, as it is called out here."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in listed.read_text().split()]

    @property
    def pid(self) -> int:
        return self.children()[0]

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def start(self, command: Sequence[str], **how: Any) -> subprocess.Popen[str]:
        """Another process in the pod, as `kubectl exec` or a hook starts it."""
        inside = ("nsenter", f"--target={self.pid}", "--mount", "--uts", "--ipc", "--net", "--pid")
        return subprocess.Popen([*inside, *_as_user(self.env, command)], stdin=subprocess.DEVNULL,
                                text=True, **how)

    def run(self, *command: str) -> str:
        """The same to its end: what it printed. Raises CalledProcessError."""
        with self.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            out, _ = process.communicate()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command, out)
        return out

    def processes(self) -> list[int]:
        return processes.descendants(self.process.pid)

    def kill(self) -> None:
        """SIGKILL of everything in it at once: process 1 takes the others along."""
        if self.alive:
            processes.kill([self.pid])
        self.process.wait()


@dataclass
class Network:
    """A bridge, and pods on it. secrets: what Secrets hold; names: of services, and their pod's address."""

    secrets: Secrets
    names: dict[str, str] = field(default_factory=dict)
    pods: list[Pod] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = itertools.count(2)
        _root("mount", "-t", "tmpfs", "tmpfs", str(RUN))  # where `ip netns` keeps names
        _ip("link", "set", "lo", "up")
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("address", "add", f"{NODE}/16", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        serve(NODE, self.names)

    def close(self) -> None:
        """No process is left."""
        for pod in self.pods:
            pod.kill()

    def pod(self, name: str, spec: Object, command: Sequence[str], env: Env) -> Pod:
        """Start one. spec: of a pod template; what its first container mounts is there, empty; env: beside the spec's.
        Its output goes to its log."""
        number = next(self._numbers)
        name, address = f"{name}-{number}", f"10.88.0.{number}"
        self._wire(name, number, address)
        place = RUN / "pods" / name
        (place / "root").mkdir(parents=True)
        (place / "etc").mkdir()
        (place / "etc" / "hosts").write_text(f"127.0.0.1\tlocalhost\n{address}\t{name}\n")
        (place / "etc" / "resolv.conf").write_text(f"nameserver {NODE}\n{RESOLV}")
        (place / "etc" / "passwd").write_text(f"lvray:x:{USER}:{USER}::/tmp:/usr/sbin/nologin\n")
        whole = {**IMAGE, "HOSTNAME": name, **container_env(spec["containers"][0], self.secrets), **env}
        empty = " ".join(f"{path}={size}" for path, size in volumes(spec).items())
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{name}", *APART, "sh", str(SANDBOX), name, str(place / "root"),
                 " ".join(_read_only()), empty, str(place / "etc"), *_as_user(whole, command)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pods.append(Pod(name, address, whole, place / "log", process))
        wait_for(lambda: self._inside(self.pods[-1]), f"the start of {name}")
        return self.pods[-1]

    @staticmethod
    def _inside(pod: Pod) -> bool:
        """Whether process 1 has become the pod's command."""
        if not pod.alive:
            raise RuntimeError(f"{pod.name} does not start:\n{pod.log.read_text()}")
        children = pod.children()
        return bool(children) and Path(f"/proc/{children[0]}/status").read_text().split("Uid:")[1].split()[0] == USER

    def _wire(self, name: str, number: int, address: str) -> None:
        _ip("netns", "add", name)
        _ip("link", "add", f"pod{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", f"pod{number}", "master", BRIDGE, "up")
        _ip("-n", name, "address", "add", f"{address}/16", "dev", "eth0")
        for link in ("lo", "eth0"):
            _ip("-n", name, "link", "set", link, "up")
        _ip("-n", name, "route", "add", "default", "via", NODE)  # Ray looks there for its own address


def container_env(container: Object, secrets: Secrets) -> dict[str, str]:
    """What its `env` and `envFrom` come to."""
    env: dict[str, str] = {}
    for whole in container.get("envFrom", []):
        env.update(secrets[whole["secretRef"]["name"]])
    for entry in container.get("env", []):
        if "value" in entry:
            env[entry["name"]] = entry["value"]
        else:
            asked = entry["valueFrom"]["secretKeyRef"]
            env[entry["name"]] = secrets[asked["name"]][asked["key"]]
    return env


def volumes(spec: Object) -> dict[str, str]:
    """Path and size of what the first container mounts."""
    sizes = {volume["name"]: volume.get("emptyDir", {}).get("sizeLimit", "1Gi") for volume in spec["volumes"]}
    return {mount["mountPath"]: sizes[mount["name"]].removesuffix("i").lower()
            for mount in spec["containers"][0]["volumeMounts"]}


def _read_only() -> list[str]:
    """The image: each path once, none within another."""
    paths = {Path("/usr"), ROOT, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
    return sorted(str(path) for path in paths if not any(other in path.parents for other in paths))


def _as_user(env: Env, command: Iterable[str]) -> list[str]:
    return ["env", "--ignore-environment", "--chdir=/tmp", *(f"{name}={value}" for name, value in env.items()),
            *UNPRIVILEGED, *command]


def _ip(*arguments: str) -> None:
    _root("ip", *arguments)


def _root(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def wait_for(true: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> None:
    """Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.2)
