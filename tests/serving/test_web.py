"""What is asked and what is answered, in this process."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from ray.exceptions import ActorDiedError

from lvray.serving import documents, reading
from lvray.serving.desk import Desk
from lvray.serving.forms import wanted
from lvray.serving.problems import MEDIA_TYPE
from tests.serving.conftest import make, predicted
from tests.serving.within import EID, URL, ZIP, Handle, ask, check, zipped


def test_an_answer_is_the_json_of_predict(checkpoint: Path, regressor: Path, study: Path) -> None:
    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        body, seg, reg = study.read_bytes(), predicted(study, checkpoint), predicted(study, regressor)
        assert (await client.post(URL, content=body, headers=ZIP)).json() == seg
        assert (await client.post(URL, files={"study": (f"{EID}.zip", body)})).json() == seg
        assert (await client.post(URL, params={"network": "reg"}, content=body, headers=ZIP)).json() == reg
        both = await client.post(URL, params={"network": "both"}, content=body, headers=ZIP)
        assert both.json() == {"seg": seg, "reg": reg}
        documents.Both.model_validate(both.json())

    ask(scenario, {"seg": [checkpoint], "reg": [regressor]})


def test_of_two_networks_one_may_refuse(checkpoint: Path, tmp_path: Path, study: Path) -> None:
    low = make(tmp_path / "low", "reg", (5, 48, 48))

    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        body = study.read_bytes()
        both = (await client.post(URL, params={"network": "both"}, content=body, headers=ZIP)).json()
        assert (both["seg"], both["reg"]["refused"]) == (predicted(study, checkpoint), "too_many_slices")
        documents.Both.model_validate(both)
        check(await client.post(URL, params={"network": "reg"}, content=body, headers=ZIP), 422, "too_many_slices")

    ask(scenario, {"seg": [checkpoint], "reg": [low]})


def test_the_view_shows_every_slice_in_the_studys_own_grid(checkpoint: Path, regressor: Path, study: Path) -> None:
    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        async def view(network: str) -> Any:
            answer = await client.post(URL, params={"view": "true", "network": network}, content=study.read_bytes(),
                                       headers=ZIP)
            documents.Estimate.model_validate(answer.json())
            return answer.json()["view"]

        seen = await view("seg")
        assert len(seen["slices"]) == len(seen["contours"]) == 6
        for one in seen["slices"]:
            kind, _, data = one.partition(",")
            grey = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
            assert (kind, grey.shape, str(grey.dtype)) == ("data:image/png;base64", (64, 64), "uint8")
            assert grey.max() > 200
        lines = [line["epi"] for line in seen["contours"] if line["epi"]]
        assert lines
        assert all(line[0] == line[-1] and min(map(min, line)) > -1 and max(map(max, line)) < 64 for line in lines)
        assert all(line["endo"] is None for line in seen["contours"])  # this network draws no cavity
        assert (await view("reg"))["contours"] == [{"endo": None, "epi": None}] * 6

    ask(scenario, {"seg": [checkpoint], "reg": [regressor]})


def test_what_is_asked_wrongly(checkpoint: Path) -> None:
    form = {"Content-Type": "multipart/form-data; boundary=b"}

    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        async def refused(status: int, reason: str, url: str = URL, **request: Any) -> None:
            check(await client.post(url, **request), status, reason)

        await refused(400, "not_a_zip", content=b"hello", headers=ZIP)
        await refused(400, "not_a_zip", content=b"", headers=ZIP)
        await refused(415, "unsupported_media_type", content=b"PK\x03\x04", headers={"Content-Type": "text/html"})
        await refused(415, "unsupported_media_type", content=b"PK\x03\x04")
        await refused(400, "bad_request", content=b"--b\r\nPK", headers=form)
        await refused(400, "bad_request", content=b"PK\x03\x04", headers=form)
        await refused(400, "bad_request", content=b"", headers={"Content-Type": "multipart/form-data"})
        await refused(400, "bad_request", content=b"", headers={"Content-Type": f"{form['Content-Type']}{'b' * 256}"})
        await refused(415, "unsupported_media_type", content=b"x", headers={**ZIP, "Content-Encoding": "gzip"})
        await refused(400, "bad_request", files={"a": b"PK\x03\x04", "b": b"PK\x03\x04"})
        await refused(400, "not_a_zip", files={"a": b"hello"})
        await refused(400, "bad_request", content=b"[" * 60_000, headers={"Content-Type": "application/json"})
        await refused(400, "bad_request", json={"uri": 1})
        await refused(400, "bad_request", json={"uri": "s3://a/b.zip", "more": 1})
        await refused(400, "bad_request", f"{URL}?network={EID}")
        await refused(404, "no_such_network", f"{URL}?network=reg", headers=ZIP)
        await refused(404, "no_such_network", f"{URL}?network=both", headers=ZIP)
        await refused(404, "not_found", f"/v1/{EID}")
        await refused(406, "not_acceptable", headers={"Accept": "image/gif, text/html;q=0.5"})
        await refused(413, "too_large", content=bytes(1 << 20) + b"x", headers=ZIP)
        await refused(413, "too_large", content=pieces(), headers=ZIP)
        check(await client.get(URL), 405, "method_not_allowed")
        check(await client.post(f"{URL}/"), 404, "not_found")
        assert (await client.head("/healthz")).status_code == (await client.head("/")).status_code == 200

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(1 << 19)

    ask(scenario, {"seg": [checkpoint]}, body_mb=1)


@pytest.mark.parametrize("accept", ["*/*", "application/*", "application/json", "text/html, */*;q=0.1", ""])
def test_json_for_all_who_take_it(checkpoint: Path, study: Path, accept: str) -> None:
    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        headers = {**ZIP, "Accept": accept}
        assert (await client.post(URL, content=study.read_bytes(), headers=headers)).status_code == 200

    ask(scenario, {"seg": [checkpoint]})


@pytest.mark.parametrize(("accept", "form"), [
    ("application/dicom", "seg"), ("application/dicom; form=sr", "sr"),
    ("image/png;q=0.1, application/dicom;form=sr", "sr"),
    ("application/json;q=0.5, image/png;q=2", "json"), ("application/json;q=inf, image/png", "png"),
    ("application/json;q=nan, image/png;q=0.1", "png"), ("*/*;form=nifti", "nifti")])
def test_what_accept_likes_best(accept: str, form: str) -> None:
    assert wanted(accept) == form


@pytest.mark.parametrize("query", ["form=json&form=seg", "network=seg&network=seg", "from=json",
                                   f"view=true&{'x' * 9999}=y"])
def test_a_parameter_that_is_none_or_comes_twice(checkpoint: Path, study: Path, query: str) -> None:
    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        answer = await client.post(f"{URL}?{query}", content=study.read_bytes(), headers=ZIP)
        assert (answer.status_code, answer.json()["reason"]) == (400, "bad_request")
        assert len(answer.content) < 300

    ask(scenario, {"seg": [checkpoint]})


def test_a_failure_of_lvray_is_one_line_without_the_message(checkpoint: Path, study: Path, caplog: Any,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError(f"{EID}_20209_2_0.zip")

    monkeypatch.setattr(reading, "view", fail)

    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        answer = await client.post(URL, content=study.read_bytes(), headers=ZIP)
        check(answer, 500, "internal")
        assert "(KeyError in serving/reading.py, line " in answer.json()["detail"]

    with caplog.at_level(logging.DEBUG):
        ask(scenario, {"seg": [checkpoint]})
    assert "KeyError in serving/reading.py" in caplog.text
    assert EID not in caplog.text
    assert "Traceback" not in caplog.text


def test_a_version_that_comes_in_answers_under_its_own_name(tmp_path: Path, checkpoint: Path, study: Path) -> None:
    """The new one has another box: a study that was cut for the old one is cut anew."""
    new = make(tmp_path / "new", "seg", (7, 40, 40), weight=2.0)
    names = {predicted(study, one)["network"]["weights"]: predicted(study, one) for one in (checkpoint, new)}
    assert len(names) == 2

    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        seen = set()
        for _ in range(6):  # while some replicas have the one and some the other, and some have died
            answer = (await client.post(URL, content=study.read_bytes(), headers=ZIP)).json()
            assert answer == names[answer["network"]["weights"]]
            seen.add(answer["network"]["weights"])
        assert seen == set(names)

    ask(scenario, {"seg": [checkpoint, None, new, new, None, checkpoint, checkpoint]})


def test_a_network_that_is_gone(checkpoint: Path, study: Path) -> None:
    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        check(await client.post(URL, content=study.read_bytes(), headers=ZIP), 503, "unavailable")
        check(await client.get("/readyz"), 503, "unavailable")
        assert (await client.get("/healthz")).json() == {"status": "ok"}

    ask(scenario, {"seg": [None]}, retry_seconds=1, answer_seconds=1)


def test_metrics_count_and_name_nobody(checkpoint: Path, study: Path) -> None:
    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        for _ in range(2):
            await client.post(f"{URL}?network=seg", content=study.read_bytes(), headers=ZIP)
        await client.post(URL, content=zipped(**{f"{EID}.txt": b"x" * 200}), headers=ZIP)
        await client.get(f"/{EID}")
        text = (await client.get("/metrics")).text
        for line in ('lvray_requests_total{status="200"} 2.0', 'lvray_requests_total{status="422"} 1.0',
                     'lvray_refusals_total{reason="no_dicom"} 1.0', 'lvray_refusals_total{reason="not_found"} 1.0',
                     'lvray_flags_total{flag="demo_weights"} 2.0', 'lvray_batch_studies_count{network="seg"} 2.0',
                     *(f'lvray_stage_seconds_count{{stage="{name}"}} {n}.0'
                       for name, n in (("upload", 3), ("read", 2), ("network", 2), ("answer", 2), ("all", 3)))):
            assert line in text
        assert EID not in text
        assert "_created" not in text

    ask(scenario, {"seg": [checkpoint]})


def test_counts_wait_for_the_actor_that_adds_them_up(checkpoint: Path, study: Path) -> None:
    class Away:
        async def add(self, *_: object) -> None:
            raise ActorDiedError

        text = add

    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        meter, desk.tally._meter = desk.tally._meter, Handle(Away())
        assert (await client.post(URL, content=study.read_bytes(), headers=ZIP)).status_code == 200
        check(await client.get("/metrics"), 503, "unavailable")
        desk.tally._meter = meter
        await client.get("/healthz/none")
        assert 'lvray_requests_total{status="200"} 1.0' in (await client.get("/metrics")).text

    ask(scenario, {"seg": [checkpoint]})


def test_the_models_and_openapi(checkpoint: Path, regressor: Path) -> None:
    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        models = documents.Models.model_validate((await client.get("/v1/models")).json()).models
        assert [(m.kind, m.recipe, m.box, m.for_show) for m in models] == [
            ("seg", "smoke_seg", (6, 48, 48), True), ("reg", "smoke_reg", (6, 48, 48), True)]
        found = (await client.get("/openapi.json")).json()
        assert set(found["paths"]) == {"/v1/estimate", "/v1/models", "/healthz", "/readyz", "/metrics", "/phantom.zip"}
        post = found["paths"][URL]["post"]
        assert set(post["requestBody"]["content"]) == {"application/zip", "multipart/form-data", "application/json"}
        assert {p["name"] for p in post["parameters"]} == {"network", "view", "form"}
        assert post["security"] == [{"HTTPBearer": []}]
        for status, answer in post["responses"].items():
            assert status == "200" or MEDIA_TYPE in answer["content"]
            assert "HTTPValidationError" not in json.dumps(answer)
        assert {"200", "400", "401", "408", "413", "415", "422", "429", "503"} <= set(post["responses"])

    ask(scenario, {"seg": [checkpoint], "reg": [regressor]})
