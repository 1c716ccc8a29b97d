"""The whole service: Ray Serve on a free port of loopback, asked over HTTP."""

from __future__ import annotations

import gzip
import socket
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
from ray.serve.schema import ServeDeploySchema

from lvray.cmr.archive import zip_members
from lvray.cmr.nifti import mask_bytes
from lvray.cmr.phantom.participant import participant
from lvray.cmr.phantom.ukb import write_participant
from lvray.cmr.study import read_cine
from lvray.errors import CheckpointError, EnvironmentFault, UseError
from lvray.estimate import predict
from lvray.nets.predict import load
from lvray.serving import app
from lvray.serving.problems import MEDIA_TYPE
from lvray.serving.reader import Arguments
from lvray.settings import Replicas, Serve
from tests.serving.conftest import SMALL, predicted

URL = "/v1/estimate"
ZIP = {"Content-Type": "application/zip"}
SETTINGS = Serve(networks=Replicas(replicas=1), batch=4, body_mb=24)


def free_port() -> int:
    with socket.socket() as free:
        free.bind((app.HOST, 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def service(ray_cluster: None, checkpoint: Path, regressor: Path) -> Iterator[httpx.Client]:
    asked = app.arguments([str(checkpoint), str(regressor)], None, app.HOST, SETTINGS)
    url = app.start(asked, port=free_port())
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield client
    app.stop()


def test_answers_are_those_of_predict_alone_and_among_others(service: httpx.Client, checkpoint: Path, regressor: Path,
                                                             tmp_path: Path) -> None:
    studies = [write_participant(tmp_path, 0, number, SMALL) for number in range(4)]
    expected = [{"seg": predicted(one, checkpoint), "reg": predicted(one, regressor)} for one in studies]

    def ask(number: int) -> Any:
        return service.post(URL, params={"network": "both"}, content=studies[number % 4].read_bytes(),
                            headers=ZIP).json()

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, range(16)))
    for number, found in [*enumerate(together), (0, ask(0))]:
        for kind, network in expected[number % 4].items():
            assert found[kind].pop("mass_g") == pytest.approx(network["mass_g"], abs=1e-3)
            assert found[kind] == {name: value for name, value in network.items() if name != "mass_g"}
    deadline = time.monotonic() + 60
    while 'lvray_batch_studies_sum{network="seg"} 17.0' not in service.get("/metrics").text.splitlines():
        assert time.monotonic() < deadline  # the other reader sends its counts within a second


@pytest.mark.parametrize("which", ["phantom", "real"])
def test_masks_are_those_of_predict(service: httpx.Client, checkpoint: Path, tmp_path: Path, which: str) -> None:
    """Voxel for voxel, alone and among others."""
    study = write_participant(tmp_path, 0, 5, SMALL) if which == "phantom" else real_study(tmp_path)
    others = [write_participant(tmp_path, 0, number, SMALL).read_bytes() for number in range(3)]
    with study.open("rb") as file:
        expected = predict(read_cine(zip_members(file)), load(checkpoint))
    assert expected.mask is not None

    def ask(body: bytes, form: str) -> httpx.Response:
        return service.post(URL, params={"form": form, "network": "seg"}, content=body, headers=ZIP)

    bodies = [study.read_bytes() if turn % 2 == 0 else others[turn % 3] for turn in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, bodies, ["nifti"] * len(bodies)))[::2]
    for answer in (*together, ask(bodies[0], "nifti")):
        assert gzip.decompress(answer.content) == gzip.decompress(mask_bytes(expected.mask, expected.affine))
    assert ask(bodies[0], "json").json()["mass_g"] == pytest.approx(expected.mass_g, abs=1e-3)


def real_study(folder: Path) -> Path:
    """A patient of Sunnybrook, zipped."""
    real = Path(__file__).resolve().parents[3] / "shared" / "data" / "sunnybrook" / "dicom" / "SCD0000101"
    if not real.is_dir():
        pytest.skip("no real data: ../shared/data is not there")
    with zipfile.ZipFile(folder / "real.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        for file in sorted(real.rglob("*.dcm")):
            zipped.write(file, file.name)
    return folder / "real.zip"


def test_nothing_that_is_said_names_a_person(service: httpx.Client, tmp_path: Path,
                                             capfd: pytest.CaptureFixture[str]) -> None:
    study = write_participant(tmp_path, 0, 0, SMALL)
    who = participant(0, 0, SMALL).person
    assert str(who.eid) in study.name
    answers = [service.post(URL, content=study.read_bytes(), headers=ZIP),
               service.post(f"{URL}?network={who.eid}", content=study.read_bytes(), headers=ZIP),
               service.post(URL, files={"study": (study.name, study.read_bytes()[:-100])}),
               service.get(f"/{who.eid}"), service.get("/v1/models"), service.get("/metrics")]
    assert [one.status_code for one in answers] == [200, 400, 422, 404, 200, 200]
    node = ray._private.worker.global_worker.node
    assert node is not None
    folder = Path(node.get_logs_dir_path())
    logs = {p.name: p.read_text(errors="replace") for p in folder.rglob("*") if p.is_file()}
    assert any("replica_lvray_Reader" in name for name in logs)
    said = [*logs, *logs.values(), *capfd.readouterr(), *(text for one in answers for text in (one.text,
                                                                                              str(one.headers)))]
    assert not [text for text in said for secret in (str(who.eid), who.name) if secret in text]


def test_ready_and_alive(service: httpx.Client) -> None:
    assert service.get("/healthz").json() == {"status": "ok"}
    assert service.get("/readyz").json() == {"status": "ready"}
    assert {one["kind"] for one in service.get("/v1/models").json()["models"]} == {"seg", "reg"}


def test_a_refused_body_is_answered_whatever_its_size(service: httpx.Client) -> None:
    for _ in range(3):
        answer = service.post(URL, content=bytes(36 << 20), headers=ZIP)
        assert (answer.status_code, answer.headers["content-type"]) == (413, MEDIA_TYPE)


def test_a_body_that_is_too_large_is_not_waited_for(service: httpx.Client) -> None:
    with socket.create_connection((service.base_url.host, service.base_url.port)) as raw:
        raw.settimeout(30)
        raw.sendall(b"POST /v1/estimate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/zip\r\n"
                    b"Content-Length: %d\r\n\r\nPK" % ((24 << 20) + 1))
        assert raw.recv(100).startswith(b"HTTP/1.1 413")


def test_another_machines_name_gets_nothing(service: httpx.Client) -> None:
    answer = service.get("/v1/models", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.json()["reason"]) == (403, "forbidden")


def test_a_port_that_is_taken(service: httpx.Client, checkpoint: Path) -> None:
    port = service.base_url.port
    assert port is not None
    with pytest.raises(EnvironmentFault, match=r"port \d+ cannot be used"):
        app.start(Arguments(seg=str(checkpoint)), port=port)


def test_a_serve_that_runs_already_keeps_its_address(service: httpx.Client, checkpoint: Path) -> None:
    with pytest.raises(EnvironmentFault, match=f"already, at 127.0.0.1:{service.base_url.port}"):
        app.start(Arguments(seg=str(checkpoint), open=True), port=free_port())
    assert service.get("/healthz").status_code == 200


def test_what_is_wrong_is_said_before_anything_starts(checkpoint: Path, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LVRAY_API_KEYS", raising=False)
    one, settings = [str(checkpoint)], Serve()
    with pytest.raises(CheckpointError, match="no finished checkpoint"):
        app.arguments([str(tmp_path)], None, app.HOST, settings)
    with pytest.raises(UseError, match="two checkpoints of kind seg"):
        app.arguments(one * 2, None, app.HOST, settings)
    with pytest.raises(UseError, match=r"--host 0.0.0.0 lets others in: give --keys FILE"):
        app.arguments(one, None, "0.0.0.0", settings)
    with pytest.raises(UseError, match="the file of --keys cannot be read: No such file"):
        app.arguments(one, tmp_path / "absent", "0.0.0.0", settings)
    (tmp_path / "keys").write_text("sixteen characters or more")
    asked = app.arguments(one, tmp_path / "keys", "0.0.0.0", settings)
    assert (asked.open, asked.keys, asked.reg) == (False, str(tmp_path / "keys"), None)
    monkeypatch.setenv("LVRAY_API_KEYS", "sixteen-characters-or-more")
    assert app.arguments(one, None, "0.0.0.0", settings).open is False


def test_a_serve_config_builds_it(checkpoint: Path) -> None:
    """As KubeRay's serveConfigV2 has it."""
    from ray._common.utils import import_attr
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary
    from ray.serve._private.build_app import build_app

    config = ServeDeploySchema.model_validate({"http_options": {"host": "0.0.0.0"}, "applications": [{
        "name": "lvray", "route_prefix": "/", "import_path": "lvray.serving.app:build",
        "args": {"seg": str(checkpoint), "keys": "/etc/lvray/keys",
                 "settings": {"networks": {"replicas": 1, "most": 4, "gpus": 0.25}, "batch": 8}},
        "deployments": [{"name": "seg", "user_config": {"checkpoint": str(checkpoint)}},
                        {"name": "Reader", "num_replicas": 3}]}]})
    [given] = config.applications
    made = call_user_app_builder_with_args_if_necessary(import_attr(given.import_path), given.args)
    built = {one.name: one for one in build_app(made, name="lvray").deployments}
    assert {one.name for one in given.deployments} < set(built) == {"seg", "Reader", "Meter"}
    seg = built["seg"]
    assert seg.user_config == {"checkpoint": str(checkpoint)}
    assert (seg.ray_actor_options or {})["num_gpus"] == 0.25
    scaling = seg._deployment_config.autoscaling_config
    assert scaling is not None
    assert (scaling.min_replicas, scaling.max_replicas) == (1, 4)
    assert (built["Reader"].num_replicas, (built["Reader"].ray_actor_options or {})["num_gpus"]) == (2, 0)
    with pytest.raises(UseError, match="names no checkpoint"):
        app.build(Arguments())
