"""The five jobs by scripts/submit, and the service from serveConfigV2, as the manifests have them."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lvray.shards import storage
from lvray.shards.dataset import open_dataset, rejects
from tests.chaos import processes
from tests.cluster.kuberay import RayCluster
from tests.cluster.place import Place
from tests.cluster.pods import wait_for

BUCKET = "s3://lvray"
SEG = f"{BUCKET}/runs/seg"
EPOCHS = 16
SHORT = ("--set", f"epochs={EPOCHS}", "--set", f"validate_epochs={EPOCHS}")
"""Beside the manifest's train-seg. Until the end no checkpoint is due but those that saving.seconds asks for."""
TRIALS = 2
RIGHTS = """
set -u
[ "$(id -u):$(id -g):$HOME" = 1000:1000:/tmp ]
grep -q '^CapEff:.0*$' /proc/self/status && grep -q '^CapBnd:.0*$' /proc/self/status
for path in / /etc /usr "$PYTHONPATH"; do ! touch "$path/written" 2>/dev/null || exit 1; done
[ "$(tr '\\0' ' ' </proc/1/cmdline | grep -c 'ray start')" = 1 ]
"""
"""Fails where a pod may do more than one of the manifests."""


def upload(source: Path) -> None:
    for path in sorted(source.iterdir()):
        storage.write_atomic(f"{BUCKET}/dicom/{path.name}", path.read_bytes(), "a study")


def run_all(place: Place, cluster: RayCluster, studies: int) -> None:
    """All five on one cluster, which has the pods that any of them asks for."""
    for pod in (cluster.head, *cluster.workers):
        pod.run("bash", "-ec", RIGHTS)
    with place.log.step("tensorize"):
        place.done(place.submit(cluster, place.entrypoint("tensorize")))
        dataset = open_dataset(f"{BUCKET}/shards")
        assert dataset.index.num_rows + rejects(dataset).num_rows == studies
    with place.log.step("train-seg, two workers on two nodes"):
        train_on_two_nodes(place, cluster)
    with place.log.step("train-reg"):
        place.done(place.submit(cluster, [*place.entrypoint("train-reg"), "--set", "epochs=2"]))
    with place.log.step("tune"):
        asked = changed(place.entrypoint("tune"), "--trials", str(TRIALS))
        place.done(place.submit(cluster, [*asked, "--set", "epochs=4"]))
        search = json.loads(storage.read_bytes(f"{BUCKET}/runs/search/tune.json", "tune.json"))
        assert len(search["trials"]) == TRIALS
    with place.log.step("predict"):
        place.done(place.submit(cluster, place.entrypoint("predict")))


def train_on_two_nodes(place: Place, cluster: RayCluster) -> None:
    command = place.submit(cluster, on_workers(place, "2", SEG))
    place.wait_for(lambda: len(cluster.training()) == 2, "two workers", command)
    nodes = [pod.name for pod in cluster.training()]
    place.log.say(f"workers on {', '.join(nodes)}")
    assert len(set(nodes)) == 2
    place.done(command)


def on_workers(place: Place, workers: str, run: str) -> list[str]:
    """train-seg's command for so many workers and another run."""
    return [*changed(changed(place.entrypoint("train-seg"), "--workers", workers), "--run", run), *SHORT]


def serve(place: Place, study: Path) -> None:
    """An answer of the service is the answer of `lvray predict` by the same checkpoint."""
    with place.cluster("serve") as cluster:
        with place.log.step("serveConfigV2 to an application that runs"):
            cluster.ask("/api/serve/applications/", yaml.safe_load(cluster.owner["spec"]["serveConfigV2"]))
            wait_for(lambda: _running(cluster), "the service", 180)
        with place.log.step("an answer"):
            (pod,) = cluster.workers
            url = f"http://{pod.address}:8000"
            with urllib.request.urlopen(f"{url}/readyz", timeout=60):
                pass
            served = _estimate(url, study, place.keys[0])
    with place.log.step("lvray predict"):
        done = subprocess.run([processes.LVRAY, "predict", study, "--checkpoint", f"{SEG}/best", "--json"], check=True,
                              capture_output=True, text=True)
        predicted = json.loads(done.stdout)
    place.log.say(f"{served['mass_g']} g by the service, {predicted['mass_g']} g by lvray predict")
    assert served["mass_g"] == predicted["mass_g"]


def changed(arguments: Sequence[str], option: str, value: str) -> list[str]:
    made = list(arguments)
    made[made.index(option) + 1] = value
    return made


def _running(cluster: RayCluster) -> bool:
    applications = cluster.ask("/api/serve/applications/")["applications"]
    states = {name: application["status"] for name, application in applications.items()}
    if "DEPLOY_FAILED" in states.values():
        raise RuntimeError(f"Serve does not deploy: {json.dumps(applications)[:4000]}")
    return set(states.values()) == {"RUNNING"}


def _estimate(url: str, study: Path, key: str) -> dict[str, Any]:
    asked = urllib.request.Request(f"{url}/v1/estimate?network=seg", data=study.read_bytes(), method="POST", headers={
        "Content-Type": "application/zip", "Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(asked, timeout=120) as answer:
        found: dict[str, Any] = json.load(answer)
    return found
