"""Every overlay renders, fits the schemas and keeps the rules; what it runs is what lvray has."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvray import recipes
from tests.k8s import rules_cluster, rules_network, rules_pods, rules_ray
from tests.k8s.manifests import K8S, ROOT, Object, environment, name, of_kind, pods, ray_clusters, render
from tests.k8s.schema import faults

OVERLAYS = ("eks", "gke", "local")
RULES = (*rules_ray.RULES, *rules_cluster.RULES, *rules_pods.RULES, *rules_network.RULES)
STEPS = {"tensorize", "train-seg", "train-reg", "tune", "predict", "serve"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_schemas(overlay: str, overlays: dict[str, list[Object]], crds: Path) -> None:
    assert not faults(overlays[overlay], crds)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rules(rule: Any, overlay: str, overlays: dict[str, list[Object]]) -> None:
    assert not list(rule(overlays[overlay]))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_is_there_and_applied_step_by_step(overlay: str, overlays: dict[str, list[Object]]) -> None:
    own = [found for found in overlays[overlay] if found["metadata"].get("namespace") == "lvray"]
    steps = {found["metadata"]["labels"].get("lvray/step") for found in own}
    assert steps == {"ground", *STEPS}
    assert {name(found) for found, _ in ray_clusters(own)} == {
        *(f"RayJob {step}" for step in STEPS - {"serve"}), "RayService serve"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_is_left_to_fill_in(overlay: str, overlays: dict[str, list[Object]]) -> None:
    text = yaml.safe_dump_all(overlays[overlay])
    assert not re.findall(r"\b(?:BUCKET|REGION|RECIPE|ROLE)\b(?!:)", text.replace("name: AWS_REGION", ""))
    bucket = yaml.safe_load((K8S / "overlays" / overlay / "settings.yaml").read_text())["data"]["bucket"]
    assert set(re.findall(r"s3://([^/\s]*)", text)) == {bucket}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_entrypoints_are_commands_of_lvray(overlay: str, overlays: dict[str, list[Object]]) -> None:
    """Parsed by lvray's own command line, and without a setting: those stand in recipes."""
    for found in of_kind(overlays[overlay], "RayJob"):
        program, *arguments = shlex.split(found["spec"]["entrypoint"])
        asked = parsed(arguments)
        assert program == "lvray"
        assert not asked.get("sets")
        assert asked.get("recipe", "paper_seg") in recipes.ALL
        if "workers" in asked:
            check_gpus(found, asked)


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What lvray would understand. Raises its usage errors."""
    import typer

    from lvray import cli

    called, *rest = arguments
    commands: Any = typer.main.get_command(cli.app)
    params: dict[str, Any] = commands.commands[called].make_context(called, rest).params
    return params


def check_gpus(found: Object, asked: dict[str, Any]) -> None:
    """lvray trains on what there stands at the start: with no GPU yet, on CPUs. So the fewest are there by then."""
    from lvray.cli.training import workers_of

    groups = found["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    gpu = next(group for group in groups if group["groupName"] == "gpu-train")
    fewest, most = workers_of(asked["workers"])
    assert fewest * asked.get("concurrent", 1) <= gpu["minReplicas"]
    assert most * asked.get("concurrent", 1) <= gpu["maxReplicas"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_serve_config(overlay: str, overlays: dict[str, list[Object]]) -> None:
    """Serve's own schema takes it, its replicas have their GPUs, and no path of a request is logged."""
    (service,) = of_kind(overlays[overlay], "RayService")
    config = serve_config(service)
    (group,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    gpus = int(group["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", 0))
    asked = config.applications[0].args
    networks = asked["settings"]["networks"]
    wanted = len({"seg", "reg"} & asked.keys()) * networks["replicas"] * networks.get("gpus", 0)
    assert wanted == gpus * group["replicas"]
    assert config.logging_config.enable_access_log is False


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_serve_imports_what_lvray_has(overlay: str, overlays: dict[str, list[Object]]) -> None:
    (service,) = of_kind(overlays[overlay], "RayService")
    (application,) = serve_config(service).applications
    module, _, attribute = application.import_path.partition(":")
    builder: Any = getattr(importlib.import_module(module), attribute, None)
    if builder is None:
        pytest.skip(f"{module} has no {attribute} yet")
    inspect.signature(builder).parameters["args"].annotation.model_validate(application.args)
    for pod in pods([service]):
        module, _, attribute = environment(pod)["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"]["value"].rpartition(".")
        assert callable(getattr(importlib.import_module(module), attribute))


def test_pools_are_what_their_pods_want(overlays: dict[str, list[Object]]) -> None:
    """Heads and the service on nodes that nobody takes back; what goes on from a checkpoint on Spot, of many kinds."""
    for pool in of_kind(overlays["eks"], "NodePool"):
        asked = {a["key"].partition("/")[2]: a["values"] for a in pool["spec"]["template"]["spec"]["requirements"]}
        spot = pool["metadata"]["name"] in ("lvray-cpu", "lvray-gpu-train")
        assert asked["capacity-type"] == (["spot"] if spot else ["on-demand"])
        assert len(asked["instance-family"]) > 1
        assert pool["spec"]["limits"]
        assert pool["spec"]["disruption"]["consolidationPolicy"] == "WhenEmpty"
    for kind in of_kind(overlays["gke"], "ComputeClass"):
        spot = kind["metadata"]["name"] in ("lvray-cpu", "lvray-gpu-train")
        assert {priority.get("spot", False) for priority in kind["spec"]["priorities"]} == {spot}
        assert len(kind["spec"]["priorities"]) > 1


def test_the_service_comes_before_training(overlays: dict[str, list[Object]]) -> None:
    for overlay in ("eks", "gke"):
        values = {p["metadata"]["name"]: p["value"] for p in of_kind(overlays[overlay], "PriorityClass")}
        for pod in pods(overlays[overlay]):
            serving = pod.owner["kind"] == "RayService"
            assert pod.spec["priorityClassName"] == ("lvray-serve" if serving else "lvray-train")
        assert values["lvray-serve"] > values["lvray-train"]


def serve_config(service: Object) -> Any:
    from ray.serve.schema import ServeDeploySchema

    return ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))


def test_secrets_and_identities(overlays: dict[str, list[Object]]) -> None:
    """LVRAY_KEY only where people are named; the store's keys only on this machine; roles in the clouds."""
    for overlay, objects in overlays.items():
        keyed = {pod.where for pod in pods(objects) if "LVRAY_KEY" in environment(pod)}
        assert keyed == {"RayJob tensorize, head", "RayJob predict, head"}
        stored = [pod.where for pod in pods(objects) if "lvray-store" in json.dumps(pod.spec)]
        assert bool(stored) == (overlay == "local")
    accounts = of_kind(overlays["eks"], "ServiceAccount")
    roles = {a["metadata"]["name"]: a["metadata"]["annotations"]["eks.amazonaws.com/role-arn"] for a in accounts}
    assert len(set(roles.values())) == len(roles) == 2
    tokens = [pod for pod in pods(overlays["gke"]) if "AWS_ROLE_ARN" in environment(pod)]
    assert {environment(pod)["AWS_ROLE_ARN"]["value"].partition("/")[2] == pod.spec["serviceAccountName"]
            for pod in tokens} == {True}


@pytest.mark.parametrize("component", ["standing", "gcs-ft"])
def test_components_that_no_overlay_has(component: str, overlays: dict[str, list[Object]], crds: Path,
                                        tmp_path: Path) -> None:
    shutil.copytree(K8S, tmp_path / "k8s")
    file = tmp_path / "k8s" / "overlays" / "eks" / "kustomization.yaml"
    file.write_text(file.read_text().replace("  - nodes\n", f"  - nodes\n  - ../../components/{component}\n", 1)
                    if component == "standing" else f"{file.read_text()}  - ../../components/{component}\n")
    made = [*render(file.parent), *render(K8S / "cluster" / "eks")]
    assert made != overlays["eks"]
    assert not faults(made, crds)
    rules = set(RULES) - {rules_cluster.jobs_fit_their_quota, rules_cluster.pods_have_a_pool}
    assert not [line for rule in rules for line in rule(made)]


def metrics_used() -> set[str]:
    folder = K8S / "components" / "monitoring"
    rules = yaml.safe_load((folder / "alerts.yaml").read_text())["spec"]["groups"][0]["rules"]
    panels = json.loads((folder / "dashboard.json").read_text())["panels"]
    queries = [rule["expr"] for rule in rules] + [target["expr"] for panel in panels for target in panel["targets"]]
    return {used for query in queries for used in re.findall(r"\b(?:ray_(?!io_)|lvray_)[a-z_]+", query)}


def test_metrics_exist_in_code() -> None:
    """By Ray's prefix, and the suffixes of counters and histograms; Serve has some of them for each protocol."""
    import ray

    parts = [ROOT / "lvray", *(Path(ray.__file__).parent / part for part in ("serve", "dashboard/modules/reporter"))]
    text = "\n".join(path.read_text() for part in parts for path in part.rglob("*.py"))
    text = text.replace("{protocol_name}", "http")
    plain = {used: used.removeprefix("ray_") for used in metrics_used()}
    names = {used: {own, re.sub(r"_(total|bucket|count|sum)$", "", own)} for used, own in plain.items()}
    missing = {used for used, own in names.items() if not any(f'"{each}"' in text for each in own)}
    if not (ROOT / "lvray" / "serving" / "meter.py").exists():  # of the service, which has no metrics yet
        missing -= {"lvray_stage_seconds_bucket", "lvray_refusals_total", "lvray_requests_total"}
    assert not missing


def test_dashboard_is_whole(overlays: dict[str, list[Object]]) -> None:
    (config,) = of_kind(overlays["eks"], "ConfigMap")
    board = json.loads(config["data"]["dashboard.json"])
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) >= 7
