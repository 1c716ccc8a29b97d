"""What every pod of lvray keeps: restricted security, GPUs asked for whole, time to save; secrets and ports closed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.k8s.manifests import Object, Objects, Pod, environment, name, of_kind, pods, ray_clusters
from tests.k8s.rules_cluster import quantity, tolerates

GPU = "nvidia.com/gpu"
GPU_TAINT = {"key": GPU, "value": "true", "effect": "NoSchedule"}
SAVE_SECONDS = 60
"""The head's hook gives the command so long, after SIGTERM, to save; the workers live on meanwhile."""
END_SECONDS = 30
"""For `ray stop` after it, and what the kubelet takes."""
ALWAYS_OPEN = {8265, 10001, 6379}
"""Dashboard, client, GCS: whoever reaches one runs code in the cluster."""
VOLUMES = {"emptyDir", "configMap", "secret", "projected", "downwardAPI", "persistentVolumeClaim", "csi", "ephemeral"}
"""Those that `restricted` lets pass (Pod Security Standards)."""
IMAGE = re.compile(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+(:[\w.-]+)?(@sha256:[0-9a-f]{64})?")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def restricted(objects: Objects) -> Iterator[str]:
    """Pod Security `restricted`, and a root file system that nobody writes; the autoscaler beside the head too."""
    for pod in pods(objects):
        whole = pod.spec.get("securityContext", {})
        for container in every(pod):
            yield from _open(f"{pod.where}, {container['name']}", {**whole, **container.get("securityContext", {})})
            if any("hostPort" in port for port in container.get("ports", [])):
                yield f"{pod.where}: a hostPort"
        if whole.get("runAsUser") != 1000 or any(pod.spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{pod.where}: not user 1000, or a part of the host"
        yield from (f"{pod.where}: a volume of {', '.join(kinds)}" for volume in pod.spec.get("volumes", [])
                    if (kinds := volume.keys() - VOLUMES - {"name"}))
    for found in of_kind(objects, "Namespace"):
        if found["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{name(found)}: does not enforce restricted"
    for found, cluster in ray_clusters(objects):
        if cluster.get("enableInTreeAutoscaling"):
            context = cluster.get("autoscalerOptions", {}).get("securityContext", {})
            yield from _open(f"{name(found)}, autoscaler", context)


def _open(where: str, context: Object) -> Iterator[str]:
    held = (context.get("runAsNonRoot") is True and context.get("allowPrivilegeEscalation") is False
            and context.get("readOnlyRootFilesystem") is True and context.get("privileged") is not True
            and context.get("runAsUser") == 1000 and context.get("capabilities") == {"drop": ["ALL"]}
            and context.get("seccompProfile", {}).get("type") == "RuntimeDefault")
    if not held:
        yield f"{where}: not restricted"


def gpus_asked_for_whole(objects: Objects) -> Iterator[str]:
    """In limits, with the toleration and a nodeSelector; KubeRay counts Ray's CPUs and GPUs from the limits."""
    for pod in pods(objects):
        limits = pod.containers[0].get("resources", {}).get("limits", {})
        requests = pod.containers[0].get("resources", {}).get("requests", {})
        tolerated = any(tolerates(toleration, GPU_TAINT) for toleration in pod.spec.get("tolerations", []))
        if pod.role in ("head", "worker") and not {"cpu", "memory"} <= limits.keys():
            yield f"{pod.where}: no limits of cpu and memory"
        if requests.get(GPU) != limits.get(GPU):
            yield f"{pod.where}: {GPU} is not the same in requests and limits"
        if GPU in limits and not (tolerated and pod.spec.get("nodeSelector")):
            yield f"{pod.where}: {GPU} without toleration or nodeSelector"
        if pod.role != "other" and ("-gpu" in pod.containers[0]["image"]) != (GPU in limits):
            yield f"{pod.where}: image {pod.containers[0]['image']} and {GPU} do not go together"
        if any(quantity(asked) > quantity(limits[kind]) for kind, asked in requests.items() if kind in limits):
            yield f"{pod.where}: asks for more than its limits"


def room_to_write(objects: Objects) -> Iterator[str]:
    """/tmp with a limit; /dev/shm of its own: KubeRay's is as large as the memory. HOME where one may write."""
    for pod in ray_pods(objects):
        mounted = {mount["mountPath"]: mount["name"] for mount in pod.containers[0].get("volumeMounts", [])}
        sizes = {volume["name"]: volume["emptyDir"].get("sizeLimit") for volume in pod.spec.get("volumes", [])
                 if "emptyDir" in volume}
        memory = quantity(pod.containers[0]["resources"]["limits"].get("memory", 0))
        shared = sizes.get(mounted.get("/dev/shm", ""))
        if not sizes.get(mounted.get("/tmp", "")):
            yield f"{pod.where}: no /tmp with a sizeLimit"
        if not shared or not 0.3 * memory <= quantity(shared) <= 0.6 * memory:
            yield f"{pod.where}: /dev/shm of {shared} beside {memory:g} bytes, of which Ray's store takes 30 %"
        if environment(pod).get("HOME", {}).get("value") != "/tmp":
            yield f"{pod.where}: HOME is not /tmp"


def time_to_save(objects: Objects) -> Iterator[str]:
    """A hook that has the run saved before the pod ends, and a grace that outlasts it."""
    for pod in ray_pods(objects):
        hook = pod.containers[0].get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [""])[-1]
        wanted = "pkill -TERM -x lvray" if pod.role == "head" else "DRAIN_NODE_REASON_PREEMPTION"
        if pod.spec.get("terminationGracePeriodSeconds", 30) < SAVE_SECONDS + END_SECONDS or wanted not in hook:
            yield f"{pod.where}: no hook that saves, or less than {SAVE_SECONDS + END_SECONDS} s for it and Ray's end"
        slept = sum(map(int, re.findall(r"; sleep (\d+)", hook)))
        if pod.role == "worker" and not 20 <= slept <= SAVE_SECONDS:
            yield f"{pod.where}: its hook waits {slept} s for the run to save"


def secrets_are_named(objects: Objects) -> Iterator[str]:
    for pod in pods(objects):
        for entry in (entry for container in every(pod) for entry in container.get("env", [])):
            if re.search(r"KEY|SECRET|PASSWORD|TOKEN$", entry["name"]) and "value" in entry:
                yield f"{pod.where}: {entry['name']} stands in the open"
    yield from (f"{name(found)}: contained, not named" for found in of_kind(objects, "Secret"))


def ray_ports_closed(objects: Objects) -> Iterator[str]:
    """Each way in names who comes; every Ray pod is chosen by a policy."""
    policies = of_kind(objects, "NetworkPolicy")
    for policy in policies:
        for way in policy["spec"].get("ingress", []):
            if not way.get("from") or any("ipBlock" in peer for peer in way["from"]):
                yield f"{name(policy)}: open to anybody"
            strangers = [peer for peer in way.get("from", []) if "podSelector" not in peer]
            if strangers and (not way.get("ports") or ALWAYS_OPEN & {port.get("port") for port in way["ports"]}):
                yield f"{name(policy)}: Ray's own ports open to a whole namespace"
    if any(True for _ in ray_clusters(objects)) and not any(
            policy["spec"]["podSelector"] == {} and "Ingress" in policy["spec"].get("policyTypes", [])
            and not policy["spec"].get("ingress") for policy in policies):
        yield "NetworkPolicy: none that closes every pod at first"


def budgets_count(objects: Objects) -> Iterator[str]:
    """A PodDisruptionBudget of pods without a scale: minAvailable, a number; none for training."""
    workers = [group["replicas"] for found, cluster in ray_clusters(objects) if found["kind"] == "RayService"
               for group in cluster["workerGroupSpecs"]]
    for found in of_kind(objects, "PodDisruptionBudget"):
        spec, chosen, least = found["spec"], found["spec"]["selector"]["matchLabels"], found["spec"].get("minAvailable")
        if not isinstance(least, int) or "maxUnavailable" in spec or not 0 < least < max(2, sum(workers)):
            yield f"{name(found)}: wants minAvailable alone, a number, fewer than the service's workers"
        if chosen != {"ray.io/serve": "true", "ray.io/node-type": "worker"}:
            yield f"{name(found)}: chooses other pods than the service's workers"


def images_pinned(objects: Objects) -> Iterator[str]:
    for pod in pods(objects):
        for container in pod.containers:
            image = container["image"]
            if not IMAGE.fullmatch(image) or not re.search(r"[:@][^/]+$", image) or image.endswith(":latest"):
                yield f"{pod.where}: image {image}"


def names_in_bounds(objects: Objects) -> Iterator[str]:
    for found in objects:
        called, marks = found["metadata"]["name"], found["metadata"].get("labels", {})
        if not NAME.fullmatch(called) or len(called) > 63 or not all(LABEL.fullmatch(v) for v in marks.values()):
            yield f"{name(found)}: its name, or a label's value"
    for pod in pods(objects):
        if not all(LABEL.fullmatch(value) for value in pod.template["metadata"].get("labels", {}).values()):
            yield f"{pod.where}: a label's value"


def every(pod: Pod) -> list[Object]:
    return [*pod.containers, *pod.spec.get("initContainers", [])]


def mounts_exist(objects: Objects) -> Iterator[str]:
    """Volumes that are mounted, and accounts and Secrets of lvray's own that are named, are there."""
    accounts = {found["metadata"]["name"] for found in of_kind(objects, "ServiceAccount")}
    for pod in pods(objects):
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
        for container in every(pod):
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
            yield from (f"{pod.where}: no volume {missing}" for missing in sorted(mounted - volumes))
            if any(mount["mountPath"] in ("/tmp", "/dev/shm") and mount.get("readOnly")
                   for mount in container.get("volumeMounts", [])):
                yield f"{pod.where}: /tmp or /dev/shm cannot be written"
        account = pod.spec.get("serviceAccountName", "default")
        if account != "default" and account not in accounts:
            yield f"{pod.where}: no ServiceAccount {account}"


def ray_pods(objects: Objects) -> Iterator[Pod]:
    return (pod for pod in pods(objects) if pod.role in ("head", "worker"))


RULES = (restricted, gpus_asked_for_whole, room_to_write, time_to_save, secrets_are_named, ray_ports_closed,
         budgets_count, mounts_exist, images_pinned, names_in_bounds)
