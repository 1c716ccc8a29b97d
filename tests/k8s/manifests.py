"""Kubernetes objects as plain dicts, and the Ray clusters and pods in them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
Objects = Sequence[Object]

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
CLUSTER_FIELD = {"RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}


@dataclass(frozen=True)
class Pod:
    """A pod template. where: for people; role: head, worker, submitter or other; owner: the object that has it."""

    where: str
    role: str
    template: Object
    owner: Object

    @property
    def spec(self) -> Object:
        spec: Object = self.template["spec"]
        return spec

    @property
    def containers(self) -> list[Object]:
        found: list[Object] = self.spec["containers"]
        return found


def render(folder: Path) -> list[Object]:
    """What `kubectl kustomize` makes of a folder. Raises RuntimeError with its complaint."""
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [found for found in yaml.load_all(done.stdout, yaml.CSafeLoader) if found]


def name(found: Object) -> str:
    return f"{found.get('kind')} {found.get('metadata', {}).get('name')}"


def of_kind(objects: Objects, *kinds: str) -> list[Object]:
    return [found for found in objects if found.get("kind") in kinds]


def ray_clusters(objects: Objects) -> Iterator[tuple[Object, Object]]:
    """Each RayJob and RayService with its cluster's spec."""
    for found in of_kind(objects, *CLUSTER_FIELD):
        cluster = found["spec"].get(CLUSTER_FIELD[found["kind"]])
        if cluster is not None:
            yield found, cluster


def pods(objects: Objects) -> Iterator[Pod]:
    for found, cluster in ray_clusters(objects):
        yield Pod(f"{name(found)}, head", "head", cluster["headGroupSpec"]["template"], found)
        for group in cluster.get("workerGroupSpecs", []):
            yield Pod(f"{name(found)}, group {group.get('groupName')}", "worker", group["template"], found)
        if "submitterPodTemplate" in found["spec"]:
            yield Pod(f"{name(found)}, submitter", "submitter", found["spec"]["submitterPodTemplate"], found)
    for found in of_kind(objects, "Deployment", "StatefulSet", "Job"):
        yield Pod(name(found), "other", found["spec"]["template"], found)


def environment(pod: Pod) -> dict[str, Object]:
    """Of its first container, by name."""
    return {entry["name"]: entry for entry in pod.containers[0].get("env", [])}
