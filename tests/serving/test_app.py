"""The whole service: Ray Serve on a free port of loopback, asked over HTTP."""

from __future__ import annotations

import io
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import ray

from lvray.cmr.archive import zip_members
from lvray.cmr.phantom.participant import participant
from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write_participant
from lvray.cmr.study import read_cine
from lvray.errors import CheckpointError, EnvironmentFault
from lvray.estimate import predict
from lvray.nets.predict import load
from lvray.serving import app
from lvray.serving.web import MAX_BYTES

SMALL = PhantomOptions(phases=2, slices=6, rows=64, columns=64)


@pytest.fixture(scope="module")
def service(ray_cluster: None, checkpoint: Path) -> Iterator[httpx.Client]:
    with socket.socket() as free:
        free.bind((app.HOST, 0))
        port = free.getsockname()[1]
    with httpx.Client(base_url=app.start(str(checkpoint), port), timeout=60, trust_env=False) as client:
        yield client
    app.stop()


def post(service: httpx.Client, body: bytes, kind: str = "application/zip", **headers: str) -> httpx.Response:
    return service.post("/v1/estimate", content=body, headers={"Content-Type": kind, **headers})


def test_healthz(service: httpx.Client) -> None:
    answer = service.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_an_estimate_is_the_json_of_predict_and_names_nobody(service: httpx.Client, checkpoint: Path, tmp_path: Path,
                                                            capfd: pytest.CaptureFixture[str]) -> None:
    study = write_participant(tmp_path, 0, 0, SMALL)
    answer = post(service, study.read_bytes())
    with study.open("rb") as file:
        expected = predict(read_cine(zip_members(file)), load(checkpoint)).to_dict()
    assert answer.status_code == 200
    assert answer.json() == expected | {"spacing_mm": list(expected["spacing_mm"])}
    who = participant(0, 0, SMALL).person
    assert str(who.eid) in study.name
    node = ray._private.worker.global_worker.node
    assert node is not None
    folder = Path(node.get_logs_dir_path())
    logs = {p.name: p.read_text(errors="replace") for p in folder.rglob("*") if p.is_file()}
    assert any("replica_lvray_Web" in name for name in logs)
    said = [answer.text, str(answer.headers), *capfd.readouterr(), *logs.values()]
    assert not [text for text in said for secret in (str(who.eid), who.name) if secret in text]


def test_an_unsafe_zip_is_refused_with_its_reason(service: httpx.Client) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../1234567.dcm", b"x")
    answer = post(service, file.getvalue())
    assert answer.status_code == 422
    assert answer.json() == {"refused": "unsafe_archive",
                             "detail": "member 1 of the zip points outside it; nothing was read"}


def test_what_is_not_a_zip(service: httpx.Client) -> None:
    assert post(service, b"hello").status_code == 400
    assert post(service, b"").status_code == 400
    answer = service.post("/v1/estimate", files={"study": ("1234567.zip", b"PK\x03\x04")})
    assert answer.status_code == 415
    assert "--data-binary" in answer.json()["detail"]
    assert "1234567" not in answer.text


def test_a_body_that_is_too_large_is_not_waited_for(service: httpx.Client) -> None:
    with socket.create_connection((service.base_url.host, service.base_url.port)) as raw:
        raw.settimeout(30)
        raw.sendall(b"POST /v1/estimate HTTP/1.1\r\nHost: x\r\nContent-Type: application/zip\r\n"
                    b"Content-Length: %d\r\n\r\nPK" % (MAX_BYTES + 1))
        assert raw.recv(100).startswith(b"HTTP/1.1 413")


def test_a_port_that_is_taken(service: httpx.Client, checkpoint: Path) -> None:
    port = service.base_url.port
    assert port is not None
    with pytest.raises(EnvironmentFault, match=r"port \d+ cannot be used"):
        app.start(str(checkpoint), port)


def test_a_bad_checkpoint_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no finished checkpoint"):
        app.run(str(tmp_path))
