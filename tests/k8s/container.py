"""The image of scripts/image, run as a pod runs it: its user, a read-only root, no capability, a network of its own
without a way out, and one folder to write, /tmp. By util-linux alone, as root."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IMAGE = "localhost/lvray:dev"
TOOLS = ("buildah", "mmdebstrap", "unshare", "nsenter", "setpriv", "ip")
READY = """set -eu
root=$1 tmp=$2
shift 2
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sys "$root/sys"
mount -t tmpfs -o mode=755,size=64k dev "$root/dev"
for device in null zero full random urandom; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777,size=64m shm "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
mount --bind "$tmp" "$root/tmp"
mount -o remount,bind,ro "$root"
ip link set lo up
exec "$@"
"""
"""Of `sh -c`, in namespaces of its own: a container's file systems, /dev/shm as small as docker makes it."""


def buildah(folder: Path, *arguments: str) -> str:
    """What buildah says of the store that scripts/image filled."""
    return subprocess.run(["buildah", "--root", folder / "store", "--runroot", folder / "run", *arguments],
                          stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def described(folder: Path) -> dict[str, Any]:
    """The image as OCI describes it: config, history; and its manifest: layers with their sizes."""
    found = json.loads(buildah(folder, "inspect", "--type", "image", IMAGE))
    return {**found["OCIv1"], "manifest": json.loads(found["Manifest"])}


@contextmanager
def root(folder: Path) -> Iterator[Path]:
    """The image's files, as a container sees them."""
    container = buildah(folder, "from", "--pull=never", IMAGE)
    try:
        yield Path(buildah(folder, "mount", container))
    finally:
        buildah(folder, "rm", container)


@dataclass(frozen=True)
class Container:
    """root: the image's files; config: what the image says of its process."""

    root: Path
    config: dict[str, Any]

    @contextmanager
    def running(self, tmp: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
        """`docker run --read-only IMAGE COMMAND` with tmp at /tmp, ended with the `with`; stdout and stderr in one."""
        inside = self._inside(*self.config["Entrypoint"], *command)
        with subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL",  # a test that is killed leaves no container
                 "unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child",
                 "sh", "-c", READY, "sh", str(self.root), str(tmp), *inside],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def beside(self, process: subprocess.Popen[str], *command: str) -> subprocess.CompletedProcess[str]:
        """`docker exec`."""
        return subprocess.run(["nsenter", f"--target={process.pid}", "--mount", "--net", *self._inside(*command)],
                              capture_output=True, text=True, check=False)

    def _inside(self, *command: str) -> list[str]:
        uid, gid = self.config["User"].split(":")
        return ["chroot", str(self.root), "setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups",
                "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all",
                "env", "-i", f"--chdir={self.config['WorkingDir']}", *self.config["Env"], *command]


def told_to_end(process: subprocess.Popen[str]) -> None:
    """SIGTERM to the container's first process."""
    child, = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGTERM)
