"""What Kueue, Karpenter and the API server refuse or leave waiting for ever, seen over all objects of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.k8s.manifests import Object, Objects, Pod, name, of_kind, pods, ray_clusters

QUEUE, PRIORITY = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"
TOPOLOGY = "kueue.x-k8s.io/podset-preferred-topology"
CLASS = "cloud.google.com/compute-class"
CAPACITY, SPOT_SECONDS = "karpenter.sh/capacity-type", 120
GROUPS = 16
CLUSTER_WIDE = ("Namespace", "PriorityClass", "NodePool", "EC2NodeClass", "ComputeClass", "ClusterQueue",
                "ResourceFlavor", "Topology", "WorkloadPriorityClass")
VALUES = {"karpenter.sh/capacity-type": {"spot", "on-demand", "reserved"}, "kubernetes.io/arch": {"amd64", "arm64"},
          "kubernetes.io/os": {"linux", "windows"}}
UNITS = {"": 1.0, "m": 1e-3, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}
SIDECARS = {"cpu": 1.0, "memory": 1.25 * 2**30}
"""Of a job: KubeRay's autoscaler, and its submitter at least."""


def quantity(text: object) -> float:
    digits = str(text).rstrip("mKMGi")
    return float(digits) * UNITS[str(text)[len(digits):]]


def labels(found: Object) -> dict[str, str]:
    got: dict[str, str] = found["metadata"].get("labels", {})
    return got


def queue_on_the_object(objects: Objects) -> Iterator[str]:
    """On pods Kueue would hold each of them by itself."""
    yield from (f"{pod.where}: {QUEUE}" for pod in pods(objects) if QUEUE in pod.template["metadata"].get("labels", {}))


def queue_exists(objects: Objects) -> Iterator[str]:
    queues = {found["metadata"]["name"]: found["spec"]["clusterQueue"] for found in of_kind(objects, "LocalQueue")}
    there = {found["metadata"]["name"] for found in of_kind(objects, "ClusterQueue")}
    classes = {found["metadata"]["name"] for found in of_kind(objects, "WorkloadPriorityClass")}
    for found in of_kind(objects, "RayJob"):
        asked = labels(found)
        if QUEUE not in asked and queues:
            yield f"{name(found)}: in no queue, beside jobs that are"
        if QUEUE in asked and queues.get(asked[QUEUE]) not in there:
            yield f"{name(found)}: no queue {asked[QUEUE]}"
        if PRIORITY in asked and asked[PRIORITY] not in classes:
            yield f"{name(found)}: no WorkloadPriorityClass {asked[PRIORITY]}"


def queue_admits_the_namespace(objects: Objects) -> Iterator[str]:
    """Absent: nobody. {}: everybody."""
    for found in of_kind(objects, "ClusterQueue"):
        wanted = found["spec"].get("namespaceSelector", {"matchLabels": {"": ""}}).get("matchLabels", {})
        if not wanted.items() <= {"kubernetes.io/metadata.name": "lvray"}.items():
            yield f"{name(found)}: its namespaceSelector does not take lvray's"
        if found["spec"].get("stopPolicy", "None") != "None":
            yield f"{name(found)}: stopPolicy {found['spec']['stopPolicy']}"


def queue_covers_what_is_asked(objects: Objects) -> Iterator[str]:
    """A job that asks for another resource waits for ever."""
    covered = {resource for queue in of_kind(objects, "ClusterQueue") for group in queue["spec"]["resourceGroups"]
               for resource in group["coveredResources"]}
    for pod in queued(objects):
        asked = {resource for container in pod.containers for kind in ("requests", "limits")
                 for resource in container.get("resources", {}).get(kind, {})}
        yield from (f"{pod.where}: {resource}" for resource in sorted(asked - covered))


def flavor_resources_in_order(objects: Objects) -> Iterator[str]:
    for queue in of_kind(objects, "ClusterQueue"):
        for group in queue["spec"]["resourceGroups"]:
            for flavor in group["flavors"]:
                listed = [resource["name"] for resource in flavor["resources"]]
                if listed != group["coveredResources"]:
                    yield f"{name(queue)}, flavor {flavor['name']}: {listed}, not {group['coveredResources']}"
                loans = {"borrowingLimit", "lendingLimit"} & {key for each in flavor["resources"] for key in each}
                if loans and "cohortName" not in queue["spec"]:
                    yield f"{name(queue)}, flavor {flavor['name']}: {sorted(loans)} without cohortName"


def flavors_exist(objects: Objects) -> Iterator[str]:
    there = {found["metadata"]["name"] for found in of_kind(objects, "ResourceFlavor")}
    topologies = {found["metadata"]["name"] for found in of_kind(objects, "Topology")}
    for queue in of_kind(objects, "ClusterQueue"):
        named = {flavor["name"] for group in queue["spec"]["resourceGroups"] for flavor in group["flavors"]}
        yield from (f"{name(queue)}: no flavor {flavor}" for flavor in sorted(named - there))
    for flavor in of_kind(objects, "ResourceFlavor"):
        topology = flavor["spec"].get("topologyName")
        if topology and (topology not in topologies or not flavor["spec"].get("nodeLabels")):
            yield f"{name(flavor)}: topology {topology} is not there, or no nodeLabels beside it"


def jobs_fit_their_quota(objects: Objects) -> Iterator[str]:
    """With the workers that it begins with, each pod on the flavor that its nodeSelector allows, topology included."""
    flavors = {found["metadata"]["name"]: found["spec"] for found in of_kind(objects, "ResourceFlavor")}
    quotas = {flavor["name"]: {r["name"]: quantity(r["nominalQuota"]) for r in flavor["resources"]}
              for queue in of_kind(objects, "ClusterQueue") for group in queue["spec"]["resourceGroups"]
              for flavor in group["flavors"]}
    used: dict[tuple[str, str, str], float] = {}
    for pod in queued(objects):
        chosen = [flavor for flavor in quotas if flavor in flavors and flavors[flavor].get("nodeLabels", {}).items()
                  <= pod.spec.get("nodeSelector", {}).items()]
        if not chosen:
            yield f"{pod.where}: its nodeSelector fits no flavor"
            continue
        if TOPOLOGY in pod.template["metadata"].get("annotations", {}) and "topologyName" not in flavors[chosen[0]]:
            yield f"{pod.where}: asks for a topology that {chosen[0]} has not"
        for resource, asked in pod.containers[0]["resources"]["requests"].items():
            key = name(pod.owner), chosen[0], resource
            used[key] = used.get(key, 0) + quantity(asked) * replicas(pod)
    for (job, flavor, resource), asked in used.items():
        room = quotas[flavor].get(resource, 0) - (SIDECARS.get(resource, 0) if flavor.endswith("head") else 0)
        if asked > room:
            yield f"{job}: {asked:g} {resource} of {flavor}, which has {room:g}"


def elastic_jobs_say_so(objects: Objects) -> Iterator[str]:
    for found, cluster in ray_clusters(objects):
        elastic = found["metadata"].get("annotations", {}).get("kueue.x-k8s.io/elastic-job") == "true"
        if QUEUE in labels(found) and cluster.get("enableInTreeAutoscaling") and not elastic:
            yield f"{name(found)}: an autoscaler in a queue wants kueue.x-k8s.io/elastic-job"
        if len(cluster.get("workerGroupSpecs", [])) > GROUPS:
            yield f"{name(found)}: more than {GROUPS} groups"


def known_values(objects: Objects) -> Iterator[str]:
    """[Spot] for [spot] passes the schema, and the pool is never ready."""
    for found in of_kind(objects, "NodePool"):
        for asked in found["spec"]["template"]["spec"]["requirements"]:
            wrong = set(asked.get("values", [])) - VALUES.get(asked["key"], set(asked.get("values", [])))
            yield from (f"{name(found)}: {asked['key']} {value}" for value in sorted(wrong))


def pods_have_a_pool(objects: Objects) -> Iterator[str]:
    """A pool has the labels that each pod selects, and the pod tolerates its taints."""
    pools: list[tuple[dict[str, str], list[Any]]] = [
        (found["spec"]["template"]["metadata"]["labels"], found["spec"]["template"]["spec"].get("taints", []))
        for found in of_kind(objects, "NodePool")]
    pools += [({CLASS: found["metadata"]["name"]}, []) for found in of_kind(objects, "ComputeClass")]
    for pod in pods(objects) if pools else ():
        wanted = pod.spec.get("nodeSelector", {})
        given = pod.spec.get("tolerations", [])
        fitting = [taints for offered, taints in pools if wanted and wanted.items() <= offered.items()]
        if not any(all(any(tolerates(one, taint) for one in given) for taint in taints) for taints in fitting):
            yield f"{pod.where}: no pool for {wanted}"


def tolerates(toleration: Any, taint: Any) -> bool:
    """As the API says of a toleration; without a key it takes every taint."""
    same = toleration.get("operator", "Equal") == "Exists" or toleration.get("value", "") == taint.get("value", "")
    return (toleration.get("key") in (None, taint["key"]) and same
            and toleration.get("effect") in (None, taint["effect"]))


def pools_fit_their_pods(objects: Objects) -> Iterator[str]:
    """Heads and the service on demand; GPUs behind a taint; nodes that end though a pod objects (do-not-disrupt), of
    Spot within its two minutes' notice, with the whole of the pod's grace in it."""
    for found in of_kind(objects, "NodePool"):
        spec = found["spec"]["template"]["spec"]
        kinds = {value for one in spec["requirements"] if one["key"] == CAPACITY for value in one["values"]}
        theirs = [pod for pod in pods(objects) if pod.spec.get("nodeSelector", {}).items()
                  <= found["spec"]["template"]["metadata"]["labels"].items() and pod.spec.get("nodeSelector")]
        lasting = [pod for pod in theirs if pod.role == "head" or pod.owner["kind"] == "RayService"]
        if lasting and kinds != {"on-demand"}:
            yield f"{name(found)}: {lasting[0].where} on nodes that are reclaimed"
        if "nvidia.com/gpu" in found["spec"].get("limits", {}) and not spec.get("taints"):
            yield f"{name(found)}: GPUs without a taint"
        ends = seconds(spec.get("terminationGracePeriod", "0s"))
        grace = max((pod.spec.get("terminationGracePeriodSeconds", 30) for pod in theirs), default=0)
        if ends < grace or ("spot" in kinds and ends > SPOT_SECONDS):
            yield f"{name(found)}: terminationGracePeriod of {ends:g} s, its pods' grace is {grace} s"


def seconds(text: str) -> float:
    """Of a duration in one unit."""
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def node_classes_exist(objects: Objects) -> Iterator[str]:
    there = {found["metadata"]["name"] for found in of_kind(objects, "EC2NodeClass")}
    yield from (f"{name(found)}: no EC2NodeClass {called}" for found in of_kind(objects, "NodePool")
                if (called := found["spec"]["template"]["spec"]["nodeClassRef"]["name"]) not in there)


def cluster_wide_without_namespace(objects: Objects) -> Iterator[str]:
    """kustomize's `namespace:` stamps custom kinds, which a server refuses."""
    yield from (f"{name(found)}: a namespace" for found in of_kind(objects, *CLUSTER_WIDE)
                if "namespace" in found["metadata"])


def queued(objects: Objects) -> Iterator[Pod]:
    return (pod for pod in pods(objects) if QUEUE in labels(pod.owner))


def replicas(pod: Pod) -> int:
    groups = pod.owner["spec"].get("rayClusterSpec", {}).get("workerGroupSpecs", [])
    return next((group["replicas"] for group in groups if group["template"] is pod.template), 1)


RULES = (queue_on_the_object, queue_exists, queue_admits_the_namespace, queue_covers_what_is_asked,
         flavor_resources_in_order, flavors_exist, jobs_fit_their_quota, elastic_jobs_say_so, known_values,
         pods_have_a_pool, pools_fit_their_pods, node_classes_exist, cluster_wide_without_namespace)
