"""What a request may cost, where it may point to, and what hostile ones are answered, in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from lvray.cmr.study import Cine
from lvray.errors import Reason
from lvray.serving import documents, reading
from lvray.serving.desk import Desk
from tests.chaos import mangle
from tests.serving.conftest import predicted
from tests.serving.within import EID, URL, ZIP, ask, check, zipped


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
        assert desk.worker.stuck
        monkeypatch.setattr(reading, "read", read)
        assert (await client.post(URL, content=study.read_bytes(), headers=ZIP)).status_code == 200
        over.set()

    ask(scenario, {"seg": [checkpoint]}, study_seconds=2)


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
