"""Each rule is seen to fail: broken copies of the EKS overlay, and the rule that says so."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.k8s.manifests import Object, of_kind
from tests.k8s.schema import faults
from tests.k8s.test_manifests import RULES


class Copy:
    """The objects, to be broken."""

    def __init__(self, objects: list[Object]) -> None:
        self.objects = copy.deepcopy(objects)

    def of(self, kind: str, name: str) -> Any:
        return next(found for found in of_kind(self.objects, kind) if found["metadata"]["name"] == name)

    @property
    def job(self) -> Any:
        return self.of("RayJob", "train-seg")["spec"]

    @property
    def cluster(self) -> Any:
        return self.job["rayClusterSpec"]

    @property
    def head(self) -> Any:
        return self.cluster["headGroupSpec"]["template"]

    @property
    def worker(self) -> Any:
        return self.cluster["workerGroupSpecs"][1]["template"]

    @property
    def container(self) -> Any:
        return self.worker["spec"]["containers"][0]

    @property
    def hook(self) -> Any:
        return self.container["lifecycle"]["preStop"]["exec"]["command"]

    def way(self, policy: str, at: int, direction: str = "ingress") -> Any:
        return self.of("NetworkPolicy", policy)["spec"][direction][at]

    @property
    def service(self) -> Any:
        return self.of("RayService", "serve")["spec"]

    @property
    def queue(self) -> Any:
        return self.of("ClusterQueue", "lvray")["spec"]

    @property
    def pool(self) -> Any:
        return self.of("NodePool", "lvray-gpu-train")["spec"]["template"]["spec"]


def put(where: Any, key: Any, value: Any) -> None:
    where[key] = value


Break = Callable[..., Any]
NAMED = {rule.__name__: rule for rule in RULES}
BROKEN: list[tuple[str, Break]] = [
    ("ray_names", lambda c: put(c.of("RayJob", "tune")["metadata"], "name", "t" * 48)),
    ("ray_names", lambda c: put(c.of("RayJob", "tune")["metadata"], "name", "2nd")),
    ("group_names_unique", lambda c: put(c.cluster["workerGroupSpecs"][0], "groupName", "gpu-train")),
    ("shutdown_after_job", lambda c: c.job.pop("shutdownAfterJobFinishes")),
    ("retries_on_a_new_cluster", lambda c: c.job.pop("backoffLimit")),
    ("retries_on_a_new_cluster", lambda c: put(c.job, "clusterSelector", {"ray.io/cluster": "other"})),
    ("entrypoint_given", lambda c: put(c.job, "entrypoint", " ")),
    ("own_submitter", lambda c: c.job.pop("submitterPodTemplate")),
    ("own_submitter", lambda c: put(c.job, "submissionMode", "SidecarMode")),
    ("replicas_in_range", lambda c: c.service["rayClusterConfig"]["workerGroupSpecs"][0].pop("replicas")),
    ("autoscaler_v2", lambda c: put(c.cluster["autoscalerOptions"], "version", "v1")),
    ("autoscaler_v2", lambda c: put(c.worker["spec"], "restartPolicy", "Always")),
    ("variables_left_to_kuberay", lambda c: c.container["env"].append({"name": "RAY_AUTH_MODE", "value": "token"})),
    ("variables_left_to_kuberay", lambda c: c.container["env"].append({"name": "RAY_REDIS_ADDRESS", "value": "r"})),
    ("no_gated_fields", lambda c: put(c.cluster, "networkPolicy", {})),
    ("head_runs_no_tasks", lambda c: put(c.cluster["headGroupSpec"], "rayStartParams", {})),
    ("ray_container_first", lambda c: c.worker["spec"]["containers"].insert(0, {"name": "log", "image": "a/b:1"})),
    ("service_upgrades", lambda c: put(c.service, "upgradeStrategy", {"type": "RollingUpdate"})),
    ("serve_config_is_yaml", lambda c: put(c.service, "serveConfigV2", "applications: [")),
    ("queue_on_the_object", lambda c: put(c.head["metadata"]["labels"], "kueue.x-k8s.io/queue-name", "lvray")),
    ("queue_exists", lambda c: put(c.of("LocalQueue", "lvray")["spec"], "clusterQueue", "other")),
    ("queue_exists", lambda c: c.objects.remove(c.of("WorkloadPriorityClass", "lvray-search"))),
    ("queue_admits_the_namespace", lambda c: c.queue.pop("namespaceSelector")),
    ("queue_covers_what_is_asked", lambda c: put(c.container["resources"]["requests"], "ephemeral-storage", "1Gi")),
    ("flavor_resources_in_order", lambda c: c.queue["resourceGroups"][0]["coveredResources"].reverse()),
    ("flavor_resources_in_order", lambda c: put(c.queue["resourceGroups"][0]["flavors"][0]["resources"][0],
                                                "borrowingLimit", 4)),
    ("flavors_exist", lambda c: c.objects.remove(c.of("ResourceFlavor", "lvray-cpu"))),
    ("flavors_exist", lambda c: c.objects.remove(c.of("Topology", "lvray"))),
    ("jobs_fit_their_quota", lambda c: put(c.queue["resourceGroups"][0]["flavors"][2]["resources"][2],
                                           "nominalQuota", 0)),
    ("jobs_fit_their_quota", lambda c: put(c.worker["metadata"]["annotations"],
                                           "kueue.x-k8s.io/podset-preferred-topology", "kubernetes.io/hostname")),
    ("elastic_jobs_say_so", lambda c: c.of("RayJob", "train-seg")["metadata"].pop("annotations")),
    ("known_values", lambda c: put(c.pool["requirements"][1], "values", ["Spot"])),
    ("pods_have_a_pool", lambda c: put(c.worker["spec"], "nodeSelector", {"lvray/pool": "gpu"})),
    ("pods_have_a_pool", lambda c: c.pool["taints"].append({"key": "other", "effect": "NoSchedule"})),
    ("node_classes_exist", lambda c: put(c.pool["nodeClassRef"], "name", "other")),
    ("cluster_wide_without_namespace", lambda c: put(c.of("NodePool", "lvray-cpu")["metadata"], "namespace", "lvray")),
    ("restricted", lambda c: c.container.pop("securityContext")),
    ("restricted", lambda c: c.cluster["autoscalerOptions"].pop("securityContext")),
    ("restricted", lambda c: c.worker["spec"]["volumes"].append({"name": "h", "hostPath": {"path": "/"}})),
    ("gpus_asked_for_whole", lambda c: c.worker["spec"].pop("tolerations")),
    ("gpus_asked_for_whole", lambda c: c.container["resources"]["limits"].pop("nvidia.com/gpu")),
    ("room_to_write", lambda c: c.container["volumeMounts"].pop(1)),
    ("room_to_write", lambda c: c.worker["spec"]["volumes"][0]["emptyDir"].clear()),
    ("time_to_save", lambda c: c.head["spec"].pop("terminationGracePeriodSeconds")),
    ("time_to_save", lambda c: c.container.pop("lifecycle")),
    ("secrets_are_named", lambda c: c.container["env"].append({"name": "LVRAY_KEY", "value": "0123456789abcdef"})),
    ("ray_ports_closed", lambda c: c.of("NetworkPolicy", "ray")["spec"]["ingress"][1].pop("from")),
    ("ray_ports_closed", lambda c: put(c.of("NetworkPolicy", "serve")["spec"]["ingress"][0]["ports"][0],
                                       "port", 8265)),
    ("ray_ports_closed", lambda c: c.objects.remove(c.of("NetworkPolicy", "nobody"))),
    ("budgets_count", lambda c: put(c.of("PodDisruptionBudget", "serve")["spec"], "minAvailable", "50%")),
    ("images_pinned", lambda c: put(c.container, "image", "example/lvray:latest")),
    ("images_pinned", lambda c: put(c.container, "image", "Example/lvray:1")),
    ("mounts_exist", lambda c: put(c.container["volumeMounts"][0], "name", "other")),
    ("mounts_exist", lambda c: put(c.container["volumeMounts"][0], "readOnly", True)),
    ("mounts_exist", lambda c: put(c.worker["spec"], "serviceAccountName", "lvray-other")),
    ("names_in_bounds", lambda c: put(c.worker["metadata"]["labels"], "run", "a b")),
    *(("ways", lambda c, name=name: c.objects.remove(c.of("NetworkPolicy", name)))
      for name in ("nobody", "ray", "serve", "submitter", "outside", "metrics")),
    ("ways", lambda c: put(c.way("ray", 1), "from", [{"namespaceSelector": {}, "podSelector": {}}])),
    ("ways", lambda c: put(c.way("ray", 0), "from", [{"podSelector": {}}])),
    ("ways", lambda c: put(c.way("ray", 0), "ports", [{"port": 6379}])),
    ("ways", lambda c: put(c.way("ray", 2)["from"][0]["namespaceSelector"]["matchLabels"],
                           "kubernetes.io/metadata.name", "ray-system")),
    *(("ways", lambda c, port=port: put(c.way("serve", 0), "ports", [port]))
      for port in ({"port": 1, "endPort": 65535}, {"protocol": "TCP"}, {"port": 52365}, {"port": "dashboard"},
                   {"port": 8000, "protocol": "UDP"})),
    ("ways", lambda c: c.way("outside", 1, "egress")["to"][0]["ipBlock"].pop("except")),
    ("ways", lambda c: put(c.way("outside", 1, "egress"), "ports", [{"port": 80}])),
    ("ways", lambda c: c.way("outside", 0, "egress")["ports"].pop(0)),
    ("ways", lambda c: put(c.of("NetworkPolicy", "outside")["spec"], "egress", [{}])),
    ("ways", lambda c: c.way("metrics", 0)["ports"].pop(0)),
    ("restricted", lambda c: put(c.worker["spec"], "initContainers", [{"name": "i", "image": "a/b:1"}])),
    ("restricted", lambda c: put(c.container["securityContext"], "runAsUser", 0)),
    ("restricted", lambda c: put(c.container, "ports", [{"containerPort": 1, "hostPort": 1}])),
    ("restricted", lambda c: c.worker["spec"]["volumes"].append({"name": "h", "nfs": {"server": "n", "path": "/"}})),
    ("restricted", lambda c: c.of("Namespace", "lvray")["metadata"]["labels"].pop(
        "pod-security.kubernetes.io/enforce")),
    ("secrets_are_named", lambda c: put(c.worker["spec"], "initContainers", [
        {"name": "i", "env": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "0123456789abcdef"}]}])),
    ("shutdown_after_job", lambda c: put(c.job, "deletionStrategy", {"deletionRules": []})),
    ("shutdown_after_job", lambda c: put(c.job, "activeDeadlineSeconds", 0)),
    ("autoscaler_v2", lambda c: put(c.head["spec"], "automountServiceAccountToken", False)),
    ("autoscaler_v2", lambda c: put(c.head["spec"], "restartPolicy", "Always")),
    ("service_upgrades", lambda c: put(c.service, "upgradeStrategy", {"type": "NewClusterWithIncrementalUpgrade"})),
    ("service_upgrades", lambda c: put(c.service["rayClusterConfig"]["headGroupSpec"], "headService",
                                       {"metadata": {"name": "mine"}})),
    ("queue_exists", lambda c: c.of("RayJob", "tune")["metadata"]["labels"].pop("kueue.x-k8s.io/queue-name")),
    ("queue_admits_the_namespace", lambda c: put(c.queue, "namespaceSelector", {"matchLabels": {"a": "b"}})),
    ("queue_admits_the_namespace", lambda c: put(c.queue, "stopPolicy", "Hold")),
    ("pools_fit_their_pods", lambda c: c.pool.pop("terminationGracePeriod")),
    ("pools_fit_their_pods", lambda c: put(c.pool, "terminationGracePeriod", "10m")),
    ("pools_fit_their_pods", lambda c: c.pool.pop("taints")),
    ("pools_fit_their_pods", lambda c: put(c.of("NodePool", "lvray-head")["spec"]["template"]["spec"][
        "requirements"][1], "values", ["spot", "on-demand"])),
    ("pods_have_a_pool", lambda c: put(c.worker["spec"]["tolerations"][0], "effect", "NoExecute")),
    ("gpus_asked_for_whole", lambda c: put(c.worker["spec"], "tolerations", [
        {"key": "nvidia.com/gpu", "operator": "Equal", "value": "false", "effect": "NoSchedule"}])),
    ("gpus_asked_for_whole", lambda c: put(c.container["resources"]["requests"], "nvidia.com/gpu", "2")),
    ("gpus_asked_for_whole", lambda c: put(c.container, "image", "example/lvray:1")),
    ("gpus_asked_for_whole", lambda c: put(c.container["resources"]["requests"], "memory", "30Gi")),
    ("time_to_save", lambda c: put(c.head["spec"], "terminationGracePeriodSeconds", 61)),
    *(("time_to_save", lambda c, slept=slept: put(c.hook, 2, c.hook[2].replace("sleep 30", f"sleep {slept}")))
      for slept in (0, 300)),
    ("budgets_count", lambda c: put(c.of("PodDisruptionBudget", "serve")["spec"], "minAvailable", 2)),
    ("budgets_count", lambda c: put(c.of("PodDisruptionBudget", "serve")["spec"], "maxUnavailable", 1)),
    ("budgets_count", lambda c: put(c.of("PodDisruptionBudget", "serve")["spec"]["selector"]["matchLabels"],
                                    "ray.io/node-type", "none")),
]
BY_SCHEMA: list[tuple[str, Break]] = [
    ("unknown field", lambda c: put(c.cluster["workerGroupSpecs"][1], "replica", 2)),
    ("'groupName' is a required property", lambda c: c.cluster["workerGroupSpecs"][1].pop("groupName")),
    ("'four' is not of type", lambda c: put(c.cluster["workerGroupSpecs"][1], "replicas", "four")),
    ("'v3' is not one of", lambda c: put(c.cluster["autoscalerOptions"], "version", "v3")),
    ("toleration", lambda c: put(c.worker["spec"], "toleration", [])),
    ("must specify exactly one of ['role', 'instanceProfile']",
     lambda c: put(c.of("EC2NodeClass", "lvray")["spec"], "instanceProfile", "x")),
    ("must match the format 'family@version'",
     lambda c: put(c.of("EC2NodeClass", "lvray")["spec"], "amiSelectorTerms", [{"alias": "al2023"}])),
    ("requirements with operator 'In' must have a value", lambda c: put(c.pool["requirements"][0], "values", [])),
    ("borrowingLimit must be nil when cohort is empty", lambda c: put(
        c.queue["resourceGroups"][0]["flavors"][0]["resources"][0], "borrowingLimit", 4)),
    ("the same key twice", lambda c: c.cluster["headGroupSpec"]["template"]["spec"]["containers"].append(
        c.cluster["headGroupSpec"]["template"]["spec"]["containers"][0])),
    ("no schema of this kind", lambda c: put(c.of("NodePool", "lvray-cpu"), "apiVersion", "karpenter.sh/v1alpha5")),
    ("serviceAccount", lambda c: put(c.of("ServiceAccount", "lvray-train"), "serviceAccount", "x")),
]


@pytest.mark.parametrize(("rule", "spoil"), BROKEN, ids=[f"{n}-{rule}" for n, (rule, _) in enumerate(BROKEN)])
def test_each_rule_fails_once(rule: str, spoil: Break, overlays: dict[str, list[Object]]) -> None:
    broken = Copy(overlays["eks"])
    spoil(broken)
    assert list(NAMED[rule](broken.objects))


def test_no_rule_is_left_out() -> None:
    assert {rule for rule, _ in BROKEN} == set(NAMED)


@pytest.mark.parametrize(("line", "spoil"), BY_SCHEMA, ids=[line[:30] for line, _ in BY_SCHEMA])
def test_schemas_refuse(line: str, spoil: Break, overlays: dict[str, list[Object]], crds: Path) -> None:
    broken = Copy(overlays["eks"])
    spoil(broken)
    assert any(line in fault for fault in faults(broken.objects, crds)), faults(broken.objects, crds)
