"""What KubeRay refuses, or lets run to no end, though its schema accepts it (ray-operator's validation, v1.7)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from tests.k8s.manifests import Objects, environment, name, of_kind, pods, ray_clusters

LONGEST = {"RayCluster": 53, "RayJob": 47, "RayService": 47}
GATED = ("networkPolicy", "tlsOptions", "historyServerOptions")
UPGRADES = ("NewCluster", "None")
"""An incremental one wants a gateway and an autoscaler besides."""
OWN_VARIABLES = {"RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_enable_autoscaler_v2"}
"""KubeRay sets these from fields; set by hand they differ from pod to pod, or are refused."""


def ray_names(objects: Objects) -> Iterator[str]:
    """Short enough for what is made of them, a letter first."""
    for found in of_kind(objects, *LONGEST):
        called, longest = found["metadata"]["name"], LONGEST[found["kind"]]
        if len(called) > longest or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", called):
            yield f"{name(found)}: at most {longest} of a-z, 0-9 and -, a letter first"


def group_names_unique(objects: Objects) -> Iterator[str]:
    for found, cluster in ray_clusters(objects):
        groups = [group["groupName"] for group in cluster.get("workerGroupSpecs", [])]
        if len(set(groups)) < len(groups) or "head" in groups:
            yield f"{name(found)}: groups {groups}"


def shutdown_after_job(objects: Objects) -> Iterator[str]:
    """ttlSecondsAfterFinished, suspend and Kueue want it; without it a cluster is paid for when its job has ended."""
    for found in of_kind(objects, "RayJob"):
        if found["spec"].get("shutdownAfterJobFinishes") is not True:
            yield f"{name(found)}: shutdownAfterJobFinishes is not true"
        if "deletionStrategy" in found["spec"]:
            yield f"{name(found)}: deletionStrategy beside shutdownAfterJobFinishes"
        if found["spec"].get("ttlSecondsAfterFinished", 0) < 0 or found["spec"].get("activeDeadlineSeconds", 1) <= 0:
            yield f"{name(found)}: a time that is not positive"


def retries_on_a_new_cluster(objects: Objects) -> Iterator[str]:
    for found in of_kind(objects, "RayJob"):
        spec = found["spec"]
        if "rayClusterSpec" not in spec or "clusterSelector" in spec or spec.get("submissionMode") == "InteractiveMode":
            yield f"{name(found)}: a backoffLimit needs a cluster of the job's own"
        elif not spec.get("backoffLimit", 0) > 0:
            yield f"{name(found)}: no backoffLimit: a lost head ends the run"


def entrypoint_given(objects: Objects) -> Iterator[str]:
    """An empty one is accepted, and fails when the cluster stands."""
    for found in of_kind(objects, "RayJob"):
        if not found["spec"].get("entrypoint", "").strip():
            yield f"{name(found)}: no entrypoint"


def own_submitter(objects: Objects) -> Iterator[str]:
    """KubeRay's own has no securityContext: a restricted namespace refuses it."""
    for found in of_kind(objects, "RayJob"):
        mode = found["spec"].get("submissionMode", "K8sJobMode")
        if mode != "K8sJobMode" or "submitterPodTemplate" not in found["spec"]:
            yield f"{name(found)}: {mode} without a submitterPodTemplate"


def replicas_in_range(objects: Objects) -> Iterator[str]:
    """Absent they are 0, and without an autoscaler they stay so."""
    for found, cluster in ray_clusters(objects):
        for group in cluster.get("workerGroupSpecs", []):
            least, now, most = (group.get(key, 0) for key in ("minReplicas", "replicas", "maxReplicas"))
            if not least <= now <= most or (now == 0 and not cluster.get("enableInTreeAutoscaling")):
                yield f"{name(found)}, group {group['groupName']}: {now} replicas of {least} to {most}"


def autoscaler_v2(objects: Objects) -> Iterator[str]:
    for found, cluster in ray_clusters(objects):
        groups, options = cluster.get("workerGroupSpecs", []), cluster.get("autoscalerOptions", {})
        scales = bool(cluster.get("enableInTreeAutoscaling"))
        if scales and options.get("version") != "v2":
            yield f"{name(found)}: an autoscaler that is not v2"
        head = cluster["headGroupSpec"]["template"]["spec"]
        if scales and not head.get("automountServiceAccountToken", True):
            yield f"{name(found)}: the autoscaler cannot ask the API server without the head's token"
        if scales and head.get("restartPolicy", "Never") != "Never":
            yield f"{name(found)}, head: v2 wants restartPolicy Never"
        for group in groups:
            if scales and group["template"]["spec"].get("restartPolicy", "Never") != "Never":
                yield f"{name(found)}, group {group['groupName']}: v2 wants restartPolicy Never"
            if not scales and {"idleTimeoutSeconds", "priority"} & group.keys():
                yield f"{name(found)}, group {group['groupName']}: idleTimeoutSeconds and priority are v2's"


def variables_left_to_kuberay(objects: Objects) -> Iterator[str]:
    for pod in pods(objects):
        for variable in sorted(OWN_VARIABLES & environment(pod).keys()):
            yield f"{pod.where}: {variable}"
        if "ray.io/ft-enabled" in pod.owner["metadata"].get("annotations", {}):
            yield f"{pod.where}: ray.io/ft-enabled, beside gcsFaultToleranceOptions"


def no_gated_fields(objects: Objects) -> Iterator[str]:
    """Behind feature gates that are off."""
    for found, cluster in ray_clusters(objects):
        yield from (f"{name(found)}: {field}" for field in GATED if field in cluster)
        if cluster.get("gcsFaultToleranceOptions", {}).get("backend", "redis") != "redis":
            yield f"{name(found)}: gcsFaultToleranceOptions.backend"
        if cluster.get("authOptions", {}).get("enableK8sTokenAuth"):
            yield f"{name(found)}: enableK8sTokenAuth is not for {found['kind']}"
    yield from (f"{name(found)}: RayCronJob" for found in of_kind(objects, "RayCronJob"))


def head_runs_no_tasks(objects: Objects) -> Iterator[str]:
    """A head that is killed for memory takes the cluster with it."""
    for found, cluster in ray_clusters(objects):
        if cluster["headGroupSpec"].get("rayStartParams", {}).get("num-cpus") != "0":
            yield f"{name(found)}: head without num-cpus \"0\""


def ray_container_first(objects: Objects) -> Iterator[str]:
    """KubeRay starts Ray in the first one, by a command of its own."""
    for pod in pods(objects):
        if pod.role in ("head", "worker") and (pod.containers[0]["name"] != "ray" or "command" in pod.containers[0]):
            yield f"{pod.where}: the first container is {pod.containers[0]['name']}, or has a command"


def service_upgrades(objects: Objects) -> Iterator[str]:
    for found in of_kind(objects, "RayService"):
        kind = found["spec"].get("upgradeStrategy", {}).get("type", "NewCluster")
        if kind not in UPGRADES:
            yield f"{name(found)}: upgradeStrategy.type {kind}"
        if found["spec"].get("rayClusterConfig", {}).get("headGroupSpec", {}).get("headService", {}).get("metadata"):
            yield f"{name(found)}: a head service of its own name"


def serve_config_is_yaml(objects: Objects) -> Iterator[str]:
    """A string to Kubernetes; Serve reads it when the cluster stands."""
    for found in of_kind(objects, "RayService"):
        try:
            config = yaml.safe_load(found["spec"].get("serveConfigV2", ""))
        except yaml.YAMLError:
            config = None
        if not isinstance(config, dict) or not config.get("applications"):
            yield f"{name(found)}: serveConfigV2 is no YAML with applications"


RULES = (ray_names, group_names_unique, shutdown_after_job, retries_on_a_new_cluster, entrypoint_given, own_submitter,
         replicas_in_range, autoscaler_v2, variables_left_to_kuberay, no_gated_fields, head_runs_no_tasks,
         ray_container_first, service_upgrades, serve_config_is_yaml)
