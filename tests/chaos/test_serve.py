"""The service while its processes are killed, its networks replaced, its store gone, its clients hostile: no wrong
answer, no 500."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from lvray.cmr.phantom.ukb import write_participant
from lvray.nets.checkpoint import CHECKSUMS
from lvray.serving.problems import MEDIA_TYPE
from lvray.serving.reader import Arguments
from lvray.settings import Serve
from lvray.shards import storage
from lvray.shards.folders import publish
from tests.chaos import mangle, processes
from tests.serving.conftest import SMALL, make, predicted
from tests.serving.test_app import URL, ZIP, free_port
from tests.weed import Weed

pytestmark = pytest.mark.slow
CLIENTS = 4
ANSWERS = 40
"""That must come after a blow before a test is content."""
SECONDS = 90
SEG = "s3://lvray/seg"
KEY = "a key for tests, long enough"
KEYED = {**ZIP, "Authorization": f"Bearer {KEY}"}


@dataclass
class Told:
    """What clients were answered: statuses, weights of the answers, wrong answers, connections that broke; and the
    longest that one study had to wait, tries included."""

    statuses: Counter[int] = field(default_factory=Counter)
    weights: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    resets: int = 0
    longest: float = 0.0

    def until(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not reached():
            assert time.monotonic() < deadline, (self.statuses, self.resets)
            time.sleep(0.05)

    def more(self, answers: int = ANSWERS) -> None:
        goal = self.statuses[200] + answers
        self.until(lambda: self.statuses[200] >= goal)


class Service:
    """In a process of its own."""

    def __init__(self, asked: Arguments, study: Path, temporary: Path) -> None:
        """temporary: the folder for temporary files of all its processes."""
        self.study = study.read_bytes()
        self.temporary = temporary
        self.expected: dict[str, dict[str, Any]] = {}
        self._path = study
        self._process = subprocess.Popen([sys.executable, "-m", "tests.chaos.serving", asked.model_dump_json(),
                                          str(free_port())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                         env={**os.environ, "TMPDIR": str(temporary), "RAY_TMPDIR": "/tmp"})
        self.url = self._line()

    def knows(self, checkpoint: Path) -> str:
        """What a version says of the study; its name."""
        found = predicted(self._path, checkpoint)
        self.expected[found["network"]["weights"]] = found
        return str(found["network"]["weights"])

    def roll(self, uri: str) -> None:
        assert self._process.stdin
        print(uri, file=self._process.stdin, flush=True)
        assert self._line() == "rolled"

    def pids(self, what: str) -> set[int]:
        return {pid for pid in processes.descendants(self._process.pid) if what in processes.title(pid)}

    def stop(self) -> None:
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    @contextmanager
    def load(self) -> Iterator[Told]:
        """Clients that ask for one study after the other, and come back when told to or cut off."""
        told, over = Told(), threading.Event()
        threads = [threading.Thread(target=self._client, args=(told, over)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            told.more(CLIENTS)
            yield told
        finally:
            over.set()
            for thread in threads:
                thread.join()
        print(told)
        assert told.wrong == []
        assert set(told.statuses) <= {200, 503}

    def _client(self, told: Told, over: threading.Event) -> None:
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as client:
            while not over.is_set():
                began, status = time.monotonic(), 0
                while status != 200 and not over.is_set():
                    try:
                        answer = client.post(URL, content=self.study, headers=KEYED)
                    except httpx.TransportError:
                        told.resets += 1
                        over.wait(0.05)
                        continue
                    status = answer.status_code
                    told.statuses[status] += 1
                    if status == 200:
                        name = answer.json()["network"]["weights"]
                        told.weights[name] += 1
                        if answer.json() != self.expected.get(name):
                            told.wrong.append(answer.text)
                    elif "retry-after" not in answer.headers or answer.headers["content-type"] != MEDIA_TYPE:
                        told.wrong.append(answer.text)
                    else:
                        over.wait(0.05)
                told.longest = max(told.longest, time.monotonic() - began)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    """An object store of this module's own, which it may stop."""
    weed = Weed(tmp_path_factory.mktemp("weed"))
    weed.start()
    with pytest.MonkeyPatch.context() as env:
        for name, value in weed.environment().items():
            env.setenv(name, value)
        env.setenv("AWS_MAX_ATTEMPTS", "1")
        yield weed
    weed.stop()


@pytest.fixture(scope="module")
def service(store: Weed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    checkpoint = make(folder / "seg", "seg")
    publish(checkpoint, SEG, CHECKSUMS, "the checkpoint")
    (folder / "keys").write_text(KEY)
    settings = Serve(per_minute=10**6, uri_prefixes=("s3://lvray/studies",), upload_seconds=3, members=50_000)
    service = Service(Arguments(seg=SEG, keys=str(folder / "keys"), settings=settings),
                      write_participant(folder, 0, 0, SMALL), tmp_path_factory.mktemp("temporary"))
    service.knows(checkpoint)
    yield service
    service.stop()


@pytest.mark.parametrize("kind", ["Reader", "seg", "Meter"])
def test_a_replica_is_killed(service: Service, kind: str) -> None:
    with service.load() as told:
        before = service.pids(f"ServeReplica:lvray:{kind}")
        assert len(before) == (1 if kind == "Meter" else 2)
        processes.kill([min(before)])
        told.until(lambda: len(service.pids(f"ServeReplica:lvray:{kind}") - before) == 1)
        told.more()
    assert told.resets == 0
    assert told.statuses[503] <= CLIENTS
    assert told.longest < 30


def test_the_proxy_is_killed(service: Service) -> None:
    with service.load() as told:
        [proxy] = service.pids("ProxyActor")
        processes.kill([proxy])
        told.until(lambda: told.resets > 0)
        told.more()
    assert told.statuses[503] == 0
    assert told.longest < 20


def test_another_version_comes_in_without_a_request_lost(service: Service, tmp_path: Path) -> None:
    """With another box: studies on their way are cut anew."""
    new = make(tmp_path / "new", "seg", (7, 40, 40), weight=2.0)
    name = service.knows(new)
    with service.load() as told:
        service.roll(str(new))
        told.until(lambda: told.weights[name] > ANSWERS)
        service.roll(SEG)
        told.more()
    assert (set(told.statuses), told.resets) == ({200}, 0)
    assert set(told.weights) == set(service.expected)


def test_the_store_goes_away_and_comes_back(service: Service, store: Weed) -> None:
    uri = {"uri": "s3://lvray/studies/7654321.zip"}
    with httpx.Client(base_url=service.url, timeout=60, headers={"Authorization": f"Bearer {KEY}"}) as client:
        storage.write_atomic(uri["uri"], service.study, "a study")
        assert client.post(URL, json=uri).json() in service.expected.values()
        store.stop()
        with service.load() as told:
            answer = client.post(URL, json=uri)
            assert (answer.status_code, answer.json()["reason"]) == (503, "unavailable")
            before = service.pids("ServeReplica:lvray:seg")
            processes.kill([min(before)])
            told.more()
            store.start()
            told.until(lambda: len(service.pids("ServeReplica:lvray:seg")) == 2)
            told.more()
        assert client.post(URL, json=uri).status_code == 200


def test_hostile_clients(service: Service, tmp_path: Path) -> None:
    studies = mangle.sound(tmp_path)
    before = set(service.temporary.rglob("*"))
    with httpx.Client(base_url=service.url, timeout=120, headers=KEYED) as client, ExitStack() as stack:
        for _ in range(50):  # connections that say nothing, and uploads that stop
            stack.enter_context(half_open(client, b""))
            stack.enter_context(half_open(client, f"POST {URL} HTTP/1.1\r\nHost: x\r\n".encode()))
        stuck = stack.enter_context(half_open(
            client, f"POST {URL} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
                    "Content-Type: application/zip\r\nContent-Length: 1000\r\n\r\nPK\3\4".encode()))
        for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}):
            answer = httpx.post(service.url + URL, content=service.study, headers={**ZIP, **wrong})
            assert (answer.status_code, answer.json()["reason"]) == (401, "unauthorized")
        many = io.BytesIO()
        with zipfile.ZipFile(many, "w") as archive:
            for number in range(100_000):
                archive.writestr(zipfile.ZipInfo(f"{number}.dcm"), b"")
        refused = client.post(URL, content=many.getvalue())
        assert (refused.status_code, refused.json()["reason"]) == (422, "too_large")
        for number in range(400):
            what, body = mangle.mangled(studies, 5, number)
            answer = client.post(URL, content=body)
            assert answer.status_code in (200, 400, 422), (what, answer.text)
            if answer.status_code != 200:
                assert answer.headers["content-type"] == MEDIA_TYPE
                assert answer.json()["reason"] not in ("internal", "gave_up"), (what, answer.text)
        stuck.settimeout(60)
        assert stuck.recv(100).startswith(b"HTTP/1.1 408")
        assert client.post(URL, content=service.study).json() in service.expected.values()
        assert client.get("/readyz").status_code == 200
    assert set(service.temporary.rglob("*")) <= before
    assert not [*Path("/").glob("*escaped*"), *Path(tempfile.gettempdir()).glob("*escaped*")]


@contextmanager
def half_open(client: httpx.Client, said: bytes) -> Iterator[socket.socket]:
    with socket.create_connection((client.base_url.host, client.base_url.port)) as raw:
        raw.sendall(said)
        yield raw
