"""What is asked and what is answered, in this process."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import threading
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from lvray.cmr.study import Cine
from lvray.errors import Reason
from lvray.serving import documents, reading
from lvray.serving.desk import Desk
from lvray.serving.problems import MEDIA_TYPE
from tests.chaos import mangle
from tests.serving.conftest import make, predicted
from tests.serving.within import ask

EID = "1234567"
ZIP = {"Content-Type": "application/zip"}
URL = "/v1/estimate"


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def check(response: httpx.Response, status: int, reason: str) -> None:
    assert (response.status_code, response.headers["content-type"]) == (status, MEDIA_TYPE), response.text
    problem = documents.Problem.model_validate(response.json())
    assert (problem.status, problem.reason) == (status, reason)
    assert EID not in response.text
    assert "\n" not in problem.detail


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


@pytest.mark.parametrize(("body", "reason"), [
    (zipped(**{f"../{EID}.dcm": b"x"}), "unsafe_archive"),
    (zipped(**{f"{EID}.dcm": b"x" * 200}), "unreadable_file"),
    (zipped(**{f"{EID}.txt": b"x" * 200}), "no_dicom"),
    (zipped(**{f"{EID}.zip": zipped(**{"0.dcm": b"x"})}), "no_dicom"),
    (zipped(**{f"{EID}.dcm": b"x" * 200})[:-30], "unreadable_file"),
    (zipped(**{f"{EID}{n}": b"" for n in range(11)}), "too_large"),
])
def test_a_refused_study_says_why_and_no_name(checkpoint: Path, body: bytes, reason: str) -> None:
    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        check(await client.post(URL, content=body, headers=ZIP), 422, reason)

    ask(scenario, {"seg": [checkpoint]}, members=10)


def test_more_pixels_than_allowed(checkpoint: Path, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cine, "phases", 50_000)

    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        check(await client.post(URL, content=study.read_bytes(), headers=ZIP), 422, "too_large")

    ask(scenario, {"seg": [checkpoint]})


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


def test_a_uri_is_read_below_the_allowed_prefixes_alone(checkpoint: Path, study: Path, tmp_path: Path) -> None:
    allowed, outside = tmp_path / "in", tmp_path / "in-other"
    allowed.mkdir()
    outside.mkdir()
    for place in (allowed, outside):
        (place / "a.zip").write_bytes(study.read_bytes())
    (allowed / "link.zip").symlink_to(outside / "a.zip")
    (allowed / "note.txt").write_text("x")
    (allowed / "folder.zip").mkdir()

    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        async def post(uri: str) -> httpx.Response:
            return await client.post(URL, json={"uri": uri})

        for uri in (f"{allowed}/a.zip", f"file://{allowed}/a.zip"):
            assert (await post(uri)).json() == predicted(study, checkpoint)
        for uri in (f"{outside}/a.zip", f"{allowed}/../in-other/a.zip", f"{allowed}/link.zip", f"{allowed}/note.txt",
                    "/etc/passwd", f"{allowed}/a\0.zip", "s3://other/a.zip", "s3://mine/../other/a.zip",
                    "s3:/mine/a.zip", "http://127.0.0.1/a.zip", "http://169.254.169.254/latest/meta-data/a.zip",
                    "http://[::1]/a.zip", "https://metadata.example/a.zip", "gopher://x/a.zip", "~root/a.zip", "",
                    "//x/a.zip"):
            check(await post(uri), 403, "uri_not_allowed")
        check(await post(f"{allowed}/{EID}.zip"), 404, "not_found")
        check(await post(f"{allowed}/folder.zip"), 404, "not_found")

    ask(scenario, {"seg": [checkpoint]}, uri_prefixes=[str(allowed), "s3://mine"])


def test_a_store_that_is_away_is_no_fault_of_the_study(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "k", "AWS_MAX_ATTEMPTS": "1",
                        "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)

    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        answer = await client.post(URL, json={"uri": f"s3://mine/{EID}.zip"})
        check(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "5"

    ask(scenario, {"seg": [checkpoint]}, uri_prefixes="s3://mine")


def test_slow_uploads_end_and_full_queues_say_when_to_come_back(checkpoint: Path, study: Path) -> None:
    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        begun = asyncio.Event()

        async def never() -> AsyncIterator[bytes]:
            yield b"PK\x03\x04"
            begun.set()
            await asyncio.Event().wait()

        slow = asyncio.create_task(client.post(URL, content=never(), headers=ZIP))
        await begun.wait()
        full = await client.post(URL, content=study.read_bytes(), headers=ZIP)
        check(full, 503, "queue_full")
        assert full.headers["retry-after"] == "7"
        check(await slow, 408, "upload_timeout")
        assert (await client.post(URL, content=study.read_bytes(), headers=ZIP)).status_code == 200

    ask(scenario, {"seg": [checkpoint]}, queue=1, upload_seconds=2, retry_seconds=7)


def test_uploads_fill_no_more_memory_than_set_aside(checkpoint: Path, study: Path) -> None:
    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        check(await client.post(URL, content=bytes(3 << 20), headers=ZIP), 503, "memory_full")
        assert desk._held.bytes == 0
        assert (await client.post(URL, content=study.read_bytes(), headers=ZIP)).status_code == 200

    ask(scenario, {"seg": [checkpoint]}, held_mb=2)


def test_a_study_that_takes_too_long_is_refused_and_holds_up_nobody(checkpoint: Path, study: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    over, read = threading.Event(), reading.read

    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        monkeypatch.setattr(reading, "read", lambda *_: over.wait())
        check(await client.post(URL, content=study.read_bytes(), headers=ZIP), 422, "gave_up")
        assert desk.reader.stuck
        monkeypatch.setattr(reading, "read", read)
        assert (await client.post(URL, content=study.read_bytes(), headers=ZIP)).status_code == 200
        over.set()

    ask(scenario, {"seg": [checkpoint]}, study_seconds=2)


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


def test_damaged_studies_are_answered_and_leave_nothing_behind(checkpoint: Path, study: Path, tmp_path: Path,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    studies = mangle.sound(tmp_path / "a" / "b")

    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        for number in range(48):
            what, body = mangle.mangled(studies, 11, number)
            answer = await client.post(URL, content=body, headers=ZIP)
            if answer.status_code != 200:
                problem = documents.Problem.model_validate(answer.json())
                assert 400 <= problem.status < 500, (what, problem)
                assert problem.reason in {*map(str, Reason), "not_a_zip"} - {"gave_up", "internal"}
        answer = await client.post(URL, content=study.read_bytes(), headers=ZIP)
        assert answer.json() == predicted(study, checkpoint)
        assert (desk._at_hand, desk._held.bytes) == (0, 0)

    ask(scenario, {"seg": [checkpoint]})
    assert [p.name for p in tmp_path.rglob("*")] == ["a", "b"]
