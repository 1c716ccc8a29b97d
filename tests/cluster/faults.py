"""Nodes that die, a head that dies, a node that is drained: a run goes on, and ends as one that nobody disturbed."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

from lvray.jobs import checkpoints
from lvray.shards import storage
from tests.cluster.jobs import BUCKET, EPOCHS, SEG, TWO, changed
from tests.cluster.kuberay import RayCluster
from tests.cluster.place import Place
from tests.cluster.pods import Pod
from tests.k8s.manifests import Object

TOLERANCE = 1e-4
"""Of a step's loss, where another number of workers adds up the same rows."""
NOTICED_SECONDS = 20.0
"""From the hook's first command to a checkpoint."""


def no_byte_changes(place: Place) -> None:
    """Of two workers: a node, and then the head, die within an epoch; the next cluster has a node drained."""
    run = f"{BUCKET}/runs/disturbed"
    command = [*changed(place.entrypoint("train-seg"), {**TWO, "--run": run}), "--set"]
    with place.cluster("train-seg", gpu_train=2) as cluster:
        job = place.submit(cluster, [*command, "saving.seconds=0"])
        with place.log.step("kill -9 of a worker's node within an epoch"):
            within_an_epoch(place, run, 2, job)
            lost = cluster.training()[0]
            lost.kill()
            place.log.say(f"{lost.name} is lost at {checkpoints.names(run)[-1]}")
            cluster.replace(lost)
            place.wait_for(lambda: trained_on(cluster, lost), "workers anew", job)
            within_an_epoch(place, run, checkpoints.position(checkpoints.names(run)[-1])[0], job)
        with place.log.step("kill -9 of the head"):
            cluster.head.kill()
            at = checkpoints.names(run)[-1]
            place.log.say(f"{cluster.head.name} is lost at {at}")
            assert place.ended(job) != 0
    with place.cluster("train-seg", gpu_train=2) as cluster:
        job = place.submit(cluster, [*command, "saving.seconds=3600"])
        with place.log.step("a drained node, with the hook's notice"):
            place.wait_for(lambda: len(cluster.training()) == 2, "two workers", job)
            drain(place, cluster, run, job)
        with place.log.step("to the end"):
            place.done(job)
    assert files(f"{run}/best") == files(f"{SEG}/best")
    place.log.say("the same bytes as undisturbed")


def drain(place: Place, cluster: RayCluster, run: str, job: Pod) -> None:
    """No checkpoint is due before the end. The pod's own hook runs in it, and then it goes."""
    before = checkpoints.names(run)
    going = cluster.training()[0]
    began = time.monotonic()
    hook = going.start(pre_stop(cluster.owner, going), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    place.wait_for(lambda: checkpoints.names(run) != before, "a checkpoint on notice", job)
    seconds = time.monotonic() - began
    assert seconds < NOTICED_SECONDS
    place.log.say(f"{going.name} is to go: {checkpoints.names(run)[-1]} was saved {seconds:.1f} s later")
    place.wait_for(lambda: hook.poll() is not None, "the hook's end", job)
    going.kill()
    cluster.replace(going)
    place.wait_for(lambda: trained_on(cluster, going), "workers anew", job)
    place.log.say(f"{going.name} has gone after {time.monotonic() - began:.1f} s")


def elastic(place: Place) -> None:
    """One or two workers, as there are: both nodes that train die, one worker goes on on what is left."""
    run = f"{BUCKET}/runs/elastic"
    command = changed(place.entrypoint("train-seg"), {**TWO, "--workers": "1..2", "--run": run})
    with place.cluster("train-seg", gpu_train=2) as cluster:
        job = place.submit(cluster, [*command, "--set", "saving.seconds=0"])
        with place.log.step("elastic: two workers lose their nodes, one goes on"):
            within_an_epoch(place, run, 2, job)
            lost = cluster.training()
            assert len(lost) == 2
            for pod in lost:
                pod.kill()
            place.wait_for(lambda: len(cluster.training()) == 1, "one worker", job)
            for pod in lost:
                cluster.replace(pod)
        with place.log.step("to the end"):
            place.done(job)
    lines, undisturbed = metrics(run), metrics(SEG)
    assert [line["world"] for line in lines if "begins" in line][:2] == [2, 1]
    steps = {(line["epoch"], line["step"]): line["loss"] for line in undisturbed if "step" in line}
    assert [(line["epoch"], line["step"]) for line in lines if "step" in line] == list(steps)  # each once
    assert len(steps) == EPOCHS * undisturbed[0]["steps"]
    apart = max(abs(line["loss"] - steps[line["epoch"], line["step"]]) for line in lines if "step" in line)
    place.log.say(f"losses at most {apart:.1e} from those of two workers")
    assert apart < TOLERANCE


def within_an_epoch(place: Place, run: str, epoch: int, job: Pod) -> None:
    """Until the last checkpoint is of a later epoch than that, and not of its first step."""

    def there() -> bool:
        at = checkpoints.position((checkpoints.names(run) or [checkpoints.name(0, 0)])[-1])
        return at[0] > epoch and at[1] > 0

    place.wait_for(there, f"the middle of an epoch after {epoch}", job)


def trained_on(cluster: RayCluster, without: Pod) -> bool:
    """Whether two workers are there again, none of them on that pod."""
    pods = cluster.training()
    return len(pods) == 2 and without not in pods


def pre_stop(owner: Object, pod: Pod) -> list[str]:
    """The hook's command of the group that the pod is of."""
    groups = {group["groupName"]: group for group in owner["spec"]["rayClusterSpec"]["workerGroupSpecs"]}
    container = groups[pod.env["RAY_NODE_TYPE_NAME"]]["template"]["spec"]["containers"][0]
    command: list[str] = container["lifecycle"]["preStop"]["exec"]["command"]
    return command


def files(uri: str) -> dict[str, bytes]:
    return {entry.name: storage.read_bytes(storage.join(uri, entry.name), "a file")
            for entry in storage.list_entries(uri, "a checkpoint")}


def metrics(run: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in storage.read_bytes(f"{run}/metrics.jsonl", "metrics").splitlines()]
