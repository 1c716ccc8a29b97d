"""lvray on real Ray clusters of this machine, as the manifests have them, from DICOM to an answer and through faults.

    python -m tests.cluster LOG

Nodes are processes with an address, a root file system and an object store of their own (pods.py), made in namespaces
of this process, which nobody outside sees and which end with it, however it ends. Needs root, iproute2 and kubectl.
"""

from __future__ import annotations

import compileall
import os
import signal
import subprocess
import sys
from pathlib import Path

from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write_participant, write_tables
from tests.cluster import faults, jobs, place
from tests.cluster.log import Log
from tests.cluster.pods import RUN
from tests.k8s.manifests import ROOT

SECONDS = 120
PARTICIPANTS, SEED = 24, 0
SMALL = PhantomOptions(phases=2, slices=6, rows=64, columns=64)
INSIDE = "--inside"


def main() -> int:
    if sys.argv[1] != INSIDE:
        compileall.compile_dir(ROOT / "lvray", quiet=1)  # as in the image: no pod can write there
        return subprocess.run(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--propagation", "private", "--pid",
             "--fork", "--kill-child", "--mount-proc", sys.executable, "-m", "tests.cluster", INSIDE, sys.argv[1]],
            check=False).returncode
    story(Log(Path(sys.argv[2])))
    return 0


def story(log: Log) -> None:
    where = place.make(log)
    try:
        studies = phantoms(log)
        with where.cluster("predict", gpu_train=2) as cluster:  # it has the pods of all five
            jobs.run_all(where, cluster, len(studies))
            idle = cluster.workers[-1]
            hook = faults.run_hook(cluster, idle)  # meanwhile
            jobs.serve(where, studies[0])
            with log.step("a hook to its end, and then SIGTERM, as the kubelet sends it"):
                assert hook.wait(SECONDS) == 0
                os.kill(idle.pid, signal.SIGTERM)
                idle.process.wait(SECONDS)
        faults.run_all(where)
        log.sum_up()
    except BaseException as error:
        log.say(f"failed: {type(error).__name__}: {error}")
        for pod in where.network.pods:
            log.say(f"{pod.name}, {'alive' if pod.alive else 'ended'}, said last:")
            log.quote(pod.log.read_text(errors="replace")[-1500:])
        raise
    finally:
        where.network.close()


def phantoms(log: Log) -> list[Path]:
    """Zips of studies, which are in the bucket too."""
    with log.step(f"phantoms of {PARTICIPANTS} participants"):
        source = RUN / "ukb"
        source.mkdir()
        for number in range(PARTICIPANTS):
            write_participant(source, SEED, number, SMALL)
        write_tables(source, PARTICIPANTS, SEED, SMALL)
        (source / "truth.tsv").unlink()
        jobs.upload(source)
    return sorted(source.glob("*.zip"))


if __name__ == "__main__":
    sys.exit(main())
