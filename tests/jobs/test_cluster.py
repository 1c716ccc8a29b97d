"""Ray for a command, without starting one: these tests watch what is asked of it."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest
import ray

from lvray.errors import EnvironmentFault
from lvray.jobs.cluster import cluster


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
