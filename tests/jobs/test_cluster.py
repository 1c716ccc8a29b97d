"""Ray for a command, without starting one: these tests watch what is asked of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Any

import pytest
import ray

from lvray.errors import EnvironmentFault
from lvray.jobs.cluster import RAY_TOKEN, cluster


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """The calls of ray.init and ray.shutdown, neither of which happens."""
    calls: list[tuple[str, Any]] = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda address=None, **options: calls.append(("init", options)))
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append(("shutdown", None)))
    return calls


def test_a_local_one_ends_with_the_command_even_when_it_fails(asked: list[tuple[str, Any]]) -> None:
    def work() -> None:
        with cluster():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert [name for name, _ in asked] == ["init", "shutdown"]
    assert asked[0][1]["include_dashboard"] is False
    assert asked[0][1]["num_cpus"] >= 2


def test_what_ray_prints_goes_to_stderr(asked: list[tuple[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    with cluster():
        print("a warning of Ray's")
    print("a result")
    assert capsys.readouterr() == ("a result\n", "a warning of Ray's\n")
    assert sys.stdout is not sys.stderr


def test_a_local_one_that_does_not_start(asked: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: Any, **options: Any) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(EnvironmentFault, match="Ray does not start"), cluster():
        pass


def test_the_cluster_that_ray_address_names(asked: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{there.getsockname()[1]}")
        with cluster():
            pass
    assert "num_cpus" not in asked[0][1]
    with pytest.raises(EnvironmentFault, match="no Ray cluster answers at RAY_ADDRESS"), cluster():
        pass
    monkeypatch.setattr(ray, "init", lambda **options: (_ for _ in ()).throw(ConnectionError("auto")))
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(EnvironmentFault, match="no Ray cluster answers at RAY_ADDRESS"), cluster():
        pass


LISTENING = """
import os, socket, sys
import ray  # which reads its settings on import
from contextlib import contextmanager
from pathlib import Path
from lvray.jobs.cluster import cluster

@contextmanager
def serving():
    if sys.argv[1] == "service":
        from lvray.serving import app
        from lvray.settings import Serve
        app.start(app.arguments([app.located("default")], None, "127.0.0.1", Serve()), port=int(sys.argv[2]))
    yield

def held(pid):
    links = (os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink())
    return {link[8:-1] for link in links if link.startswith("socket:")}

def family():
    parents = {int(p.name): int((p / "stat").read_text().rpartition(")")[2].split()[1])
               for p in Path("/proc").iterdir() if p.name.isdigit()}
    own = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in own} - own:
        own |= more
    return own

with cluster(), serving():
    from ray._raylet import AuthenticationMode, get_authentication_mode
    print(get_authentication_mode() == AuthenticationMode.TOKEN, file=sys.__stdout__)
    sockets = set().union(*(held(pid) for pid in family()))
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and rest[5] in sockets:
                print(local.partition(":")[0], file=sys.__stdout__)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("what", "mode"), [("nothing", {}), ("service", {"RAY_AUTH_MODE": "disabled"})])
def test_a_local_one_listens_on_loopback_alone_and_wants_a_token(what: str, mode: dict[str, str]) -> None:
    """Whoever reaches a port of Ray's may run code."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | mode
    done = subprocess.run([sys.executable, "-c", LISTENING, what, str(port)], capture_output=True, text=True,
                          check=True, env=env)
    wants_a_token, *listening = done.stdout.split()
    assert wants_a_token == "True"
    assert set(listening) <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert len(listening) > (3 if what == "nothing" else 8)
    assert RAY_TOKEN.stat().st_mode & 0o77 == 0
