"""Who reaches whom: a table of ways, and what the NetworkPolicies make of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from tests.k8s.manifests import Object, Objects, of_kind

OWN = {"kubernetes.io/metadata.name": "lvray"}
PORTS = {"serve": 8000, "dashboard": 8265, "gcs-server": 6379, "client": 10001, "metrics": 8080}
"""Names that KubeRay gives a Ray pod's ports."""


@dataclass(frozen=True)
class Peer:
    """A pod, by its own labels and its namespace's; or an address outside the cluster."""

    labels: dict[str, str] = field(default_factory=dict)
    namespace: dict[str, str] = field(default_factory=lambda: OWN)
    address: str | None = None


def _ray(pod: str) -> Peer:
    return Peer({"app.kubernetes.io/part-of": "lvray", "lvray/pod": pod, "ray.io/is-ray-node": "yes"})


def _of(namespace: str, called: str) -> Peer:
    return Peer({"app.kubernetes.io/name": called}, {"kubernetes.io/metadata.name": namespace})


PEERS = {
    "head": _ray("head"), "train": _ray("gpu-train"), "serve": _ray("gpu-serve"),
    "submitter": Peer({"app.kubernetes.io/part-of": "lvray", "lvray/pod": "submitter"}),
    "store": Peer({"lvray/pod": "store"}), "neighbour": Peer({"app": "anything"}),
    "stranger": _of("default", "anything"), "client": Peer({}, {"lvray/client": "true"}),
    "operator": _of("kuberay-system", "kuberay-operator"), "its neighbour": _of("kuberay-system", "anything"),
    "prometheus": _of("monitoring", "prometheus"), "grafana": _of("monitoring", "grafana"),
    "internet": Peer(address="198.51.100.7"), "metadata": Peer(address="169.254.169.254"),
    "dns": _of("kube-system", "coredns")}
RAY = (6379, 8265, 10001, 8076, 52365, 30000)
"""Of Ray's, those that are fixed, and one of its workers'."""
OPEN: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("head", "train", RAY), ("train", "head", RAY), ("train", "train", RAY), ("serve", "head", RAY),
    ("head", "serve", (*RAY, 8000)), ("submitter", "head", (8265,)), ("operator", "head", (8265,)),
    ("operator", "serve", (8000,)), ("client", "serve", (8000,)), ("head", "internet", (443,)),
    ("train", "internet", (443,)), ("serve", "internet", (443,)), ("submitter", "internet", (443,)),
    *((who, "dns", (53,)) for who in ("head", "train", "serve", "submitter")))
CLOSED: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    *((who, whom, (*RAY, 8000, 8080)) for who in ("neighbour", "stranger", "its neighbour", "grafana")
      for whom in ("head", "train", "serve")),
    ("client", "serve", RAY), ("client", "head", (*RAY, 8000)), ("client", "train", RAY),
    ("operator", "head", (6379, 10001)), ("prometheus", "head", (6379, 8265, 10001)),
    ("submitter", "head", (6379, 10001)),
    *((who, "metadata", (80, 443)) for who in ("head", "train", "serve", "submitter", "neighbour")),
    *((who, "internet", (22, 80, 6379)) for who in ("head", "train", "serve", "submitter")),
    ("neighbour", "internet", (443,)), ("head", "stranger", (8000,)), ("head", "neighbour", (8000,)))
MONITORED = (("prometheus", "head", (8080,)), ("prometheus", "train", (8080,)), ("prometheus", "serve", (8080, 8000)))

STORED = tuple((who, "store", (8333,)) for who in ("head", "train", "serve", "submitter"))


def ways(objects: Objects) -> Iterator[str]:
    """All that lvray needs is open, and nothing else of the table; to Ray's pods by their own policies, whatever holds
    back who asks."""
    policies = [found["spec"] for found in of_kind(objects, "NetworkPolicy")]
    monitored = MONITORED if of_kind(objects, "PodMonitor") else ()
    stored = STORED if any(found["metadata"]["name"] == "store" for found in of_kind(objects, "Deployment")) else ()
    for wanted, table in ((True, (*OPEN, *monitored, *stored)), (False, CLOSED)):
        for who, whom, ports in table:
            for port in ports:
                for protocol in ("UDP", "TCP") if port == 53 else ("TCP",):
                    into = not wanted and "ray.io/is-ray-node" in PEERS[whom].labels
                    look = enters if into else reaches
                    if policies and look(policies, PEERS[who], PEERS[whom], port, protocol) != wanted:
                        yield f"NetworkPolicy: {who} to {whom}, {protocol} {port}: {'shut' if wanted else 'open'}"


def reaches(policies: list[Object], who: Peer, whom: Peer, port: int, protocol: str) -> bool:
    """As the API says: a pod that no policy of a direction selects is open in it; else one has to let this pass. Other
    namespaces have no policies here."""
    return _passes(policies, "Egress", who, whom, port, protocol) and enters(policies, who, whom, port, protocol)


def enters(policies: list[Object], who: Peer, whom: Peer, port: int, protocol: str) -> bool:
    return _passes(policies, "Ingress", whom, who, port, protocol)


def _passes(policies: list[Object], direction: str, at: Peer, other: Peer, port: int, protocol: str) -> bool:
    if at.address is not None or at.namespace != OWN:
        return True
    chosen = [policy for policy in policies if direction in policy.get("policyTypes", ["Ingress"])
              and _has(at.labels, policy["podSelector"])]
    side = "to" if direction == "Egress" else "from"
    return not chosen or any(
        (not way.get(side) or any(_is(other, peer) for peer in way[side]))
        and (not way.get("ports") or any(_takes(asked, port, protocol) for asked in way["ports"]))
        for policy in chosen for way in policy.get(direction.lower(), []))


def _is(other: Peer, peer: dict[str, Any]) -> bool:
    if block := peer.get("ipBlock"):
        return other.address is not None and ip_address(other.address) in ip_network(block["cidr"]) and not any(
            ip_address(other.address) in ip_network(one) for one in block.get("except", []))
    if other.address is not None:
        return False
    there = _has(other.namespace, peer["namespaceSelector"]) if "namespaceSelector" in peer else other.namespace == OWN
    return there and _has(other.labels, peer.get("podSelector", {}))


def _has(labels: dict[str, str], selector: dict[str, Any]) -> bool:
    assert set(selector) <= {"matchLabels"}, "matchExpressions are not looked at here"
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def _takes(asked: dict[str, Any], port: int, protocol: str) -> bool:
    named = asked.get("port", 0)
    least = PORTS.get(named, -1) if isinstance(named, str) else named
    most = asked.get("endPort", least) if least else 65535
    return bool(asked.get("protocol", "TCP") == protocol and least <= port <= most)


RULES = (ways,)
