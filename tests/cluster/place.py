"""Where it all happens: the manifests, a network, the manifests' object store, and who submits."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.cluster.kuberay import RayCluster
from tests.cluster.log import Log
from tests.cluster.pods import RUN, Network, Pod, wait_for
from tests.k8s.manifests import K8S, ROOT, Object, of_kind, render

S3 = 8333
SUBMIT_SECONDS = 300.0

KEY = "5f" * 32
"""Of the participants' hashes, which decide the splits: with this one each split has somebody."""


@dataclass
class Place:
    """owners: RayJobs and the RayService, by name. keys: an API key of the service, and the key that names people."""

    log: Log
    network: Network
    owners: dict[str, Object]
    store: Pod
    keys: tuple[str, str]

    @contextmanager
    def cluster(self, name: str, **replicas: int) -> Iterator[RayCluster]:
        """As the manifest of that name wants it, but with so many pods of a group."""
        made = RayCluster(self.network, self.owners[name],
                          {group.replace("_", "-"): number for group, number in replicas.items()})
        try:
            with self.log.step(f"a cluster as of {name}"):
                made.start()
            yield made
        finally:
            made.stop()

    def entrypoint(self, name: str) -> list[str]:
        """Of a RayJob: what stands behind `lvray`."""
        program, *arguments = shlex.split(self.owners[name]["spec"]["entrypoint"])
        assert program == "lvray"
        return arguments

    def submit(self, cluster: RayCluster, arguments: Sequence[str]) -> Pod:
        """scripts/submit in a pod of its own, which ends with it. It has the store's credentials, as its user would."""
        line = ["--address", cluster.dashboard, *arguments]
        self.log.say(f"scripts/submit {shlex.join(line)}")
        return self.network.pod("submitter", cluster.owner["spec"]["submitterPodTemplate"]["spec"],
                                [str(ROOT / "scripts" / "submit"), *line], {**self.aws(), **cluster.auth})

    def ended(self, submitter: Pod) -> int:
        """Its exit code; what it said goes into the log, but for what Ray adds of a raylet's own log."""
        code = submitter.process.wait(SUBMIT_SECONDS)
        said = submitter.log.read_text(errors="replace").splitlines()
        self.log.quote("\n".join(line for line in said if line.strip() and not line[0].isspace()))
        return code

    def done(self, submitter: Pod) -> None:
        code = self.ended(submitter)
        assert code == 0, f"scripts/submit ended with {code}"

    def wait_for(self, true: Callable[[], Any], what: str, submitter: Pod) -> None:
        """While the job runs. RuntimeError where it ends before."""

        def look() -> bool:
            if not submitter.alive:
                raise RuntimeError(f"before {what} the job ended with {self.ended(submitter)}")
            return bool(true())

        wait_for(look, what)

    def aws(self) -> dict[str, str]:
        """The AWS variables of a client anywhere on the network."""
        return {"AWS_ENDPOINT_URL": f"http://{self.store.address}:{S3}", "AWS_REGION": "us-east-1",
                **self.network.secrets["lvray-store"]}


def make(log: Log) -> Place:
    """The network and the store; this process is a client of it from here on."""
    api_key, key = secrets.token_hex(24), KEY
    network = Network({
        "lvray-store": {"AWS_ACCESS_KEY_ID": "lvray", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16)},
        "lvray-key": {"key": key}, "lvray-api-keys": {"keys": api_key}})
    objects = manifests()
    with log.step("the store"):
        (deployment,) = of_kind(objects, "Deployment")
        spec = deployment["spec"]["template"]["spec"]
        container = spec["containers"][0]
        store = network.pod("store", spec, [*container["command"], *container["args"]], {})
        network.names[deployment["metadata"]["name"]] = store.address
        wait_for(lambda: _ready(f"http://{store.address}:{S3}{container['readinessProbe']['httpGet']['path']}"),
                 "the store")
    place = Place(log, network, {found["metadata"]["name"]: found
                                 for found in of_kind(objects, "RayJob", "RayService")}, store, (api_key, key))
    os.environ.update(place.aws())
    return place


def manifests() -> list[Object]:
    """overlays/local, with a token for each Ray cluster as in the clouds."""
    shutil.copytree(K8S, RUN / "k8s")
    file = RUN / "k8s" / "overlays" / "local" / "kustomization.yaml"
    file.write_text(f"{file.read_text()}  - ../../components/token-auth\n")  # its components come last
    return render(file.parent)


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
