"""Storage against a real S3: reading, writing, what a preflight tells apart, and what is tried again."""

from __future__ import annotations

import hashlib
import math
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pyarrow as pa
import pytest

from lvray.errors import EnvironmentFault, UseError
from lvray.shards import s3 as clients
from lvray.shards import storage
from tests.faulty import Fault, faulty
from tests.weed import BUCKET, READER, Weed, free_ports

SECRET = "1234567_20209_2_0"
"""A name that no message may hold."""


def test_write_read_list(s3: str) -> None:
    data = os.urandom(100_000)
    for name, body in {"a/b.bin": data, "a/B.bin": b"", "a/b/c": pa.py_buffer(data), "a-": memoryview(data)}.items():
        storage.write_atomic(f"{s3}/{name}", b"old", name)
        storage.write_atomic(f"{s3}/{name}", body, name)
        assert storage.read_bytes(f"{s3}/{name}", name) == bytes(body)
        assert storage.sha256(f"{s3}/{name}", name) == hashlib.sha256(body).hexdigest()
    storage.write_atomic(f"{s3}/a/", b"", "what marks a folder for some tools")
    tag = hashlib.md5(data).hexdigest()
    assert storage.list_entries(f"{s3}/a", "a") == [
        storage.Entry("B.bin", False, 0, hashlib.md5(b"").hexdigest()), storage.Entry("b", True, 0, ""),
        storage.Entry("b.bin", False, 100_000, tag)]
    assert [e.name for e in storage.list_entries(f"{s3}/", "it")] == ["a", "a-"]
    assert storage.list_entries(f"{s3}/a-", "it") == []
    assert [(e.name, e.version == tag) for e in storage.list_tree(s3, "it")] == [
        ("a-", True), ("a/B.bin", False), ("a/b.bin", True), ("a/b/c", True)]
    assert storage.exists(f"{s3}/a/b.bin", "b")
    assert not storage.exists(f"{s3}/a/b.bi", "b")


def test_what_is_not_there(s3: str) -> None:
    doing: list[Callable[[], object]] = [
        lambda: storage.read_bytes(f"{s3}/{SECRET}", "study 3"), lambda: storage.sha256(f"{s3}/{SECRET}", "study 3"),
        lambda: storage.list_entries(f"{s3}/{SECRET}", "study 3"), lambda: storage.tree_version(f"{s3}/{SECRET}"),
        lambda: storage.preflight(f"{s3}/{SECRET}", write=False, what="study 3")]
    for do in doing:
        with pytest.raises(EnvironmentFault, match=r"study.*: No such file or directory$") as caught:
            do()
        assert SECRET not in str(caught.value)
        assert isinstance(caught.value.__cause__, FileNotFoundError)
    assert storage.list_entries(f"{s3}/{SECRET}", "study 3", missing_ok=True) == []


def test_a_preflight_tells_a_prefix_from_its_namesakes(s3: str) -> None:
    storage.write_atomic(f"{s3}/study-2/x", b"x", "x")
    storage.preflight(f"{s3}/study-2", write=False, what="SRC")
    storage.preflight(f"{s3}/study-2/x", write=False, what="SRC")
    with pytest.raises(EnvironmentFault, match="No such file"):
        storage.preflight(f"{s3}/study", write=False, what="SRC")
    storage.preflight(f"{s3}/new", write=True, what="DST")
    assert [e.name for e in storage.list_tree(s3, "it")] == ["study-2/x"]


def test_tree_version(s3: str) -> None:
    storage.write_atomic(f"{s3}/study/1.dcm", b"one", "it")
    first = storage.tree_version(f"{s3}/study")
    storage.write_atomic(f"{s3}/study/1.dcm", b"one", "it")
    assert storage.tree_version(f"{s3}/study") == storage.tree_version(f"{s3}/study/") == first
    seen = {first, storage.tree_version(f"{s3}/study/1.dcm")}
    for name in ("1.dcm", "more/2.dcm"):
        storage.write_atomic(f"{s3}/study/{name}", b"two", "it")
        seen.add(storage.tree_version(f"{s3}/study"))
    assert len(seen) == 4


def test_delete_tree(s3: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: storage.write_atomic(f"{s3}/parts/{i % 7}/{i}", b"x", "it"), range(1010)))
    storage.write_atomic(f"{s3}/parts-of-others", b"x", "it")
    storage.delete_tree(f"{s3}/parts/", "the parts")
    storage.delete_tree(f"{s3}/parts", "the parts")
    assert [e.name for e in storage.list_tree(s3, "it")] == ["parts-of-others"]
    for whole in (f"s3://{BUCKET}", f"s3://{BUCKET}/", f"s3://{BUCKET}//"):
        with pytest.raises(ValueError, match="whole bucket"):
            storage.delete_tree(whole, "it")


def test_of_many_writers_one_wins(s3: str) -> None:
    uri = f"{s3}/manifest.json"
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: storage.put_if_absent(uri, f"{i}".encode(), "it"), range(8)))
    assert won.count(True) == 1
    assert storage.read_bytes(uri, "it") == str(won.index(True)).encode()


def test_what_comes_back_is_compared(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_checked(f"{s3}/shard", pa.py_buffer(b"good"), "a shard")
    put = clients.put
    monkeypatch.setattr(clients, "put", lambda uri, data: put(uri, b"rots"))
    with pytest.raises(EnvironmentFault, match=r"^cannot write a shard: other bytes come back"):
        storage.write_checked(f"{s3}/shard", b"good", "a shard")


def test_a_reader_cannot_write(weed: Weed, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_atomic(f"{s3}/x", b"x", "x")
    for name, value in weed.environment(READER).items():
        monkeypatch.setenv(name, value)
    storage.preflight(s3, write=False, what="SRC")
    assert storage.read_bytes(f"{s3}/x", "x") == b"x"
    with pytest.raises(EnvironmentFault, match=r"^cannot write DST: .*AccessDenied; check the AWS credentials"):
        storage.preflight(f"{s3}/new", write=True, what="DST")
    with pytest.raises(EnvironmentFault, match=r"^cannot remove it: .*AccessDenied"):
        storage.delete_tree(s3, "it")


PREFLIGHTS = {
    "nothing listens": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:{free}"}, "check AWS_ENDPOINT_URL$"),
    "no such host": ({"AWS_ENDPOINT_URL": "http://nosuch.invalid:80"}, "check AWS_ENDPOINT_URL$"),
    "TLS where there is none": ({"AWS_ENDPOINT_URL": "https://127.0.0.1:{weed}"}, "check AWS_ENDPOINT_URL$"),
    "wrong key": ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId; check AWS_ACCESS_KEY_ID$"),
    "wrong secret": ({"AWS_SECRET_ACCESS_KEY": "x"}, "SignatureDoesNotMatch; check AWS_SECRET_ACCESS_KEY$"),
    "half a key": ({"AWS_SECRET_ACCESS_KEY": ""}, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY$"),
    "no key": ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACC"),
}


@pytest.mark.parametrize("case", PREFLIGHTS)
def test_a_preflight_says_what_to_check(weed: Weed, s3: str, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables, wanted = PREFLIGHTS[case]
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nosuch")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(free=free_ports(1)[0], weed=weed.ports[0]))
        if not value:
            monkeypatch.delenv(name)
    with pytest.raises(EnvironmentFault, match=rf"^cannot write DST: [^\n]*{wanted}"):
        storage.preflight(f"{s3}/{SECRET}", write=True, what="DST")


@pytest.mark.parametrize("write", [False, True])
def test_a_wrong_bucket_is_not_made(weed: Weed, s3: str, write: bool) -> None:
    with pytest.raises(EnvironmentFault, match=r"DST: the object store answers NoSuchBucket; check the bucket's name$"):
        storage.preflight("s3://lvrai/data", write=write, what="DST")
    buckets = boto3.Session().client("s3", endpoint_url=weed.endpoint).list_buckets()["Buckets"]
    assert [b["Name"] for b in buckets] == [BUCKET]


@pytest.fixture
def web_page(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of something that is no S3 and answers everything with the parameter's status."""
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param)
            self.send_header("Content-Length", "13")
            self.end_headers()
            self.wfile.write(b"<p>Hello!</p>")

        do_PUT = do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("web_page", [200, 302, 404, 501], indirect=True)
def test_a_web_page_is_no_s3(s3: str, web_page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", web_page)
    with pytest.raises(EnvironmentFault, match=r"DST: the object store answers [^\n]*; check AWS_ENDPOINT_URL, the "):
        storage.preflight(s3, write=True, what="DST")


@pytest.mark.slow
def test_a_silent_endpoint(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(EnvironmentFault, match="check AWS_ENDPOINT_URL"):
            storage.preflight(s3, write=True, what="DST")


@pytest.mark.parametrize(("name", "value"), [("AWS_ENDPOINT_URL", "127.0.0.1:9000"), ("AWS_ENDPOINT_URL", "https://"),
                                             ("AWS_MAX_ATTEMPTS", "0"), ("AWS_MAX_ATTEMPTS", "many")])
def test_variables_that_make_no_sense(s3: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UseError, match=name):
        storage.preflight(s3, write=True, what="DST")


DATA = bytes(range(256)) * 1000


def read(uri: str) -> bool:
    return storage.read_bytes(f"{uri}/x", "it") == DATA


def listing(uri: str) -> bool:
    return [e.name for e in storage.list_entries(uri, "it")] == ["x", "x0"]


def write(uri: str) -> bool:
    storage.write_checked(f"{uri}/y", DATA, "it")
    return storage.read_bytes(f"{uri}/y", "it") == DATA


def put_if_absent(uri: str) -> bool:
    return storage.put_if_absent(f"{uri}/z", DATA, "it")


def delete(uri: str) -> bool:
    storage.delete_tree(uri, "it")
    return storage.list_entries(uri, "it", missing_ok=True) == []


Operation = Callable[[str], bool]


@pytest.fixture
def uri(s3: str) -> str:
    """A prefix that holds two objects."""
    for name in ("x", "x0"):
        storage.write_atomic(f"{s3}/{SECRET}/{name}", DATA, "it")
    return f"{s3}/{SECRET}"


@pytest.mark.parametrize(("operation", "fault"), [
    *((op, fault) for op in (read, listing, write) for fault in ("503 SlowDown", "500 InternalError", "reset", "cut")),
    *((put_if_absent, fault) for fault in ("503 SlowDown", "reset", "409 ConditionalRequestConflict")),
    (delete, "503 SlowDown")])
def test_a_passing_fault_is_overcome(weed: Weed, uri: str, operation: Operation, fault: Fault,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty(weed.endpoint, fault, times=1) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert operation(uri)
        assert proxy.seen > 1


@pytest.mark.parametrize(("operation", "fault"), [
    *((op, fault) for op in (read, listing, write) for fault in ("503 SlowDown", "reset")), (delete, "503 SlowDown")])
def test_a_fault_that_stays_is_one_line(weed: Weed, uri: str, operation: Operation, fault: Fault,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    with faulty(weed.endpoint, fault, times=math.inf) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with pytest.raises(EnvironmentFault, match=r"^cannot \w+ it: [^;\n]*; [^;\n]*check AWS_ENDPOINT_URL") as caught:
            operation(uri)
        assert SECRET not in str(caught.value)
        assert "\n" not in str(caught.value)
        # aiohttp, with which s3fs lists, asks again by itself where a connection is reset
        assert proxy.seen == (4 if (operation, fault) == (listing, "reset") else 2)


def test_reading_in_pieces_outlives_cuts(weed: Weed, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty(weed.endpoint, "cut", times=2) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert storage.sha256(f"{uri}/x", "it") == hashlib.sha256(DATA).hexdigest()
        assert proxy.seen > 2


def test_the_store_of_these_tests_outlives_a_kill(weed: Weed, uri: str) -> None:
    weed.kill()
    weed.start()
    assert read(uri)
