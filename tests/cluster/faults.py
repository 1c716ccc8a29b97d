"""Nodes that die, a head that dies, a node that is drained: a run goes on, and ends as one that nobody disturbed."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

from lvray.jobs import checkpoints
from lvray.shards import storage
from tests.cluster.jobs import BUCKET, EPOCHS, SEG, on_workers
from tests.cluster.kuberay import RayCluster
from tests.cluster.place import Place
from tests.cluster.pods import Pod

TOLERANCE = 1e-4
"""Of a step's loss, where another number of workers adds up the same rows."""


def run_all(place: Place) -> None:
    """Of two workers: a node, and then the head, die within an epoch; in the next cluster a node is drained."""
    run = f"{BUCKET}/runs/disturbed"
    command = [*on_workers(place, "2", run), "--set"]
    with place.cluster("train-seg", gpu_train=2) as cluster:
        headless = place.submit(cluster, [*command, "saving.seconds=0"])
        with place.log.step("kill -9 of a worker's node within an epoch"):
            lose_a_node(place, cluster, run, headless)
        with place.log.step("kill -9 of the head"):
            within_an_epoch(place, run, last(run)[0], headless)
            cluster.head.kill()
            place.log.say(f"{cluster.head.name} is lost at {last(run)}")
    with place.cluster("train-seg", gpu_train=2) as cluster:
        job = place.submit(cluster, [*command, "saving.seconds=3600"])
        with place.log.step("a node that is drained by its hook, and taken"):
            drain(place, cluster, run, job)
        with place.log.step("to the end"):
            place.done(job)
            assert place.ended(headless) != 0
            assert tensors(f"{run}/best") == tensors(f"{SEG}/best")
            place.log.say("weights and optimiser to the byte as undisturbed")
        with place.log.step("elastic: two workers lose their nodes, one goes on"):
            elastic(place, cluster)


def lose_a_node(place: Place, cluster: RayCluster, run: str, job: Pod) -> None:
    within_an_epoch(place, run, 2, job)
    lost = cluster.training()[0]
    lost.kill()
    place.log.say(f"{lost.name} is lost at {last(run)}")
    cluster.replace(lost)
    place.wait_for(lambda: trained_on(cluster), "two workers anew", job)


def drain(place: Place, cluster: RayCluster, run: str, job: Pod) -> None:
    """No checkpoint is due before the end. The pod's own hook runs in it; the node is taken while the hook still waits
    for the pod's processes."""
    place.wait_for(lambda: "goes on from" in job.log.read_text() and trained_on(cluster), "two workers", job)
    before, began = last(run), time.monotonic()
    going = cluster.training()[0]
    hook = run_hook(cluster, going)
    place.wait_for(lambda: last(run) > before, "a checkpoint on notice", job)
    assert hook.poll() is None
    place.log.say(f"{going.name} is to go: saved at {last(run)} {time.monotonic() - began:.1f} s later")
    going.kill()
    hook.wait()
    cluster.replace(going)
    place.wait_for(lambda: trained_on(cluster), "two workers anew", job)


def run_hook(cluster: RayCluster, pod: Pod) -> subprocess.Popen[str]:
    """preStop of a worker's pod, as the kubelet runs it."""
    groups = {group["groupName"]: group for group in cluster.owner["spec"]["rayClusterSpec"]["workerGroupSpecs"]}
    container = groups[pod.env["RAY_NODE_TYPE_NAME"]]["template"]["spec"]["containers"][0]
    return pod.start(container["lifecycle"]["preStop"]["exec"]["command"], stdout=subprocess.DEVNULL,
                     stderr=subprocess.DEVNULL)


def elastic(place: Place, cluster: RayCluster) -> None:
    """One or two workers, as there are: each row of every epoch is still trained on once."""
    run = f"{BUCKET}/runs/elastic"
    job = place.submit(cluster, [*on_workers(place, "1..2", run), "--set", "saving.seconds=0"])
    within_an_epoch(place, run, 2, job)
    lost = cluster.training()
    for pod in lost:
        pod.kill()
    place.log.say(f"{', '.join(pod.name for pod in lost)} are lost at {last(run)}")
    place.wait_for(lambda: len(cluster.training()) == 1, "one worker", job)
    for pod in lost:
        cluster.replace(pod)
    place.done(job)
    lines, undisturbed = metrics(run), metrics(SEG)
    worlds = [line["world"] for line in lines if "begins" in line]
    assert worlds[:2] == [2, 1]
    losses = {(line["epoch"], line["step"]): line["loss"] for line in undisturbed if "step" in line}
    assert len(losses) == EPOCHS * undisturbed[0]["steps"]
    assert [(line["epoch"], line["step"]) for line in lines if "step" in line] == list(losses)  # each once
    apart = max(abs(line["loss"] - losses[line["epoch"], line["step"]]) for line in lines if "step" in line)
    place.log.say(f"on {worlds} workers; losses at most {apart:.1e} from those of two")
    assert apart < TOLERANCE


def within_an_epoch(place: Place, run: str, epoch: int, job: Pod) -> None:
    """Until the last checkpoint is of a later epoch than that, and not of its beginning."""
    place.wait_for(lambda: last(run)[0] > epoch and last(run)[1] > 0, f"the middle of an epoch after {epoch}", job)


def last(run: str) -> tuple[int, int]:
    """Position of the last checkpoint, (0, 0) where there is none."""
    return max(map(checkpoints.position, checkpoints.names(run)), default=(0, 0))


def trained_on(cluster: RayCluster) -> bool:
    """Whether two workers are there, on nodes that live."""
    return len([pod for pod in cluster.training() if pod.alive]) == 2


def tensors(uri: str) -> dict[str, bytes]:
    """Of a checkpoint; the rest of it says how often it was saved."""
    return {entry.name: storage.read_bytes(storage.join(uri, entry.name), "a file")
            for entry in storage.list_entries(uri, "a checkpoint") if entry.name.endswith(".safetensors")}


def metrics(run: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in storage.read_bytes(f"{run}/metrics.jsonl", "metrics").splitlines()]
