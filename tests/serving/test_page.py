"""The page and the forms of an answer: by HTTP in this process, then in a real browser."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import socket
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import httpx
import pydicom
import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage

from lvray.cmr.archive import zip_members
from lvray.cmr.quality import Flag, words
from lvray.cmr.study import read_cine
from lvray.serving import documents, front
from lvray.serving.desk import Desk
from lvray.serving.keys import Keys
from lvray.serving.meter import Meter
from lvray.serving.web import web
from lvray.settings import Serve
from tests.serving.conftest import SMALL
from tests.serving.within import URL, ZIP, Handle, Replicas, ask, check

CHROMIUM = Path("/usr/bin/chromium")
KEY = "sixteen-characters-or-more"


def test_the_page_is_sealed_and_wants_no_key(checkpoint: Path) -> None:
    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        for path, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css"),
                           ("/phantom.zip", "application/zip")):
            answer = await client.get(path)
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith(kind)
            assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; ")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert kind == "application/zip" or "://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
        check(await client.post(URL, content=b"", headers=ZIP), 401, "unauthorized")

    ask(scenario, {"seg": [checkpoint]}, Keys(env={"LVRAY_API_KEYS": KEY}))


def test_the_phantom_is_a_study_and_always_the_same() -> None:
    made = front.phantom_zip()
    assert read_cine(zip_members(io.BytesIO(made))).slices == 8
    front.phantom_zip.cache_clear()
    assert front.phantom_zip() == made


def test_every_form(checkpoint: Path, regressor: Path, study: Path) -> None:
    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        async def post(form: str | None = None, accept: str = "*/*", network: str = "seg") -> httpx.Response:
            return await client.post(URL, params={"network": network} | ({"form": form} if form else {}),
                                     content=study.read_bytes(), headers={**ZIP, "Accept": accept})

        seg, sr, png, nifti = [await post(form) for form in ("seg", "sr", "png", "nifti")]
        assert [one.headers["content-type"] for one in (seg, sr, png, nifti)] == [
            "application/dicom", "application/dicom", "image/png", "application/gzip"]
        mask, report = (pydicom.dcmread(io.BytesIO(one.content)) for one in (seg, sr))
        assert (mask.SOPClassUID, report.SOPClassUID) == (SegmentationStorage, Comprehensive3DSRStorage)
        assert str(mask.SOPInstanceUID) in str(report)
        assert Image.open(io.BytesIO(png.content)).width > 100
        assert gzip.decompress(nifti.content)[344:347] == b"n+1"
        for accept, same in (("application/dicom", seg), ("image/*", png), ("application/gzip", nifti)):
            assert (await post(accept=accept)).content == same.content
        assert (await post("sr", accept="text/html")).content == sr.content  # who names a form gets it
        for form in ("seg", "nifti"):
            check(await post(form, network="reg"), 422, "no_mask")
        assert (await post("sr", network="reg")).status_code == 200
        check(await post("pdf"), 400, "bad_request")

    ask(scenario, {"seg": [checkpoint], "reg": [regressor]})


def test_the_json_tells_what_dicom_mends_and_the_view_in_words(checkpoint: Path, study: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.zip"
    with zipfile.ZipFile(study) as old, zipfile.ZipFile(spoilt, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith(".dcm"):
                ds = pydicom.dcmread(io.BytesIO(data))
                ds.PatientSex = "X"
                out = io.BytesIO()
                ds.save_as(out)
                data = out.getvalue()
            new.writestr(name, data)

    async def scenario(client: httpx.AsyncClient, desk: Desk) -> None:
        answer = await client.post(URL, params={"view": "true"}, content=spoilt.read_bytes(), headers=ZIP)
        found = documents.Estimate.model_validate(answer.json())
        assert Flag.TEXTS_MENDED in found.quality
        assert found.view is not None
        assert found.view.words == {flag: words(Flag(flag)) for flag in found.quality}

    ask(scenario, {"seg": [checkpoint]})


@contextmanager
def serving(checkpoint: Path, keys: Keys) -> Iterator[str]:
    """The service's application on a port of loopback; connections wait in the socket until it answers."""
    desk = Desk(Serve(), keys, {"seg": Handle(Replicas([checkpoint]))}, Handle(Meter()))
    server = uvicorn.Server(uvicorn.Config(web(desk), log_level="error", lifespan="off", ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is absent: no browser to look at the page with")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def looking(browser: Browser, url: str) -> Iterator[Page]:
    """A tab in which no error may come up and whose every request goes to the service."""
    with browser.new_context() as context:
        page, wrong = context.new_page(), list[str]()
        page.on("console", lambda told: wrong.append(told.text) if told.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith((url, "data:", "blob:"))
                else wrong.append(asked.url))
        page.goto(url)
        yield page
        assert wrong == []


def test_from_the_page_to_grams_and_files(checkpoint: Path, browser: Browser, tmp_path: Path) -> None:
    with serving(checkpoint, Keys(open=True)) as url, looking(browser, url) as page:
        expect(page.get_by_text("Research use only.").first).to_be_visible()
        page.get_by_role("button", name="Try a phantom").click()
        grams = page.get_by_role("heading", level=2)
        expect(grams).to_have_text(re.compile(r"^LV mass \d+\.\d g$"), timeout=60_000)
        expect(grams).to_be_focused()
        expect(page.get_by_text(words(Flag.DEMO_WEIGHTS))).to_be_visible()

        slider, name = page.get_by_role("slider", name="Slice"), page.locator("#slice-name")
        slider.fill("1")
        expect(name).to_have_text(re.compile("^Slice 1 of 8, at the base"))
        first = page.locator("#image").get_attribute("href")
        page.locator("#picture").hover()
        page.mouse.wheel(0, 100)
        expect(name).to_have_text(re.compile("^Slice 2 of 8"))
        grams.focus()
        page.keyboard.press("ArrowRight")
        expect(name).to_have_text(re.compile("^Slice 3 of 8"))
        expect(page.locator("#image")).not_to_have_attribute("href", first or "")
        assert page.locator("#epi").get_attribute("d")

        contours = page.get_by_role("checkbox", name="Contours")
        expect(page.locator("#epi")).to_be_visible()
        contours.uncheck()
        expect(page.locator("#epi")).to_be_hidden()
        contours.check()
        expect(page.locator("#epi")).to_be_visible()

        for button, file in (("JSON", "lvray.json"), ("PNG", "lvray.png"), ("DICOM SR", "lvray-sr.dcm"),
                             ("DICOM SEG", "lvray-seg.dcm"), ("NIfTI mask", "lvray-mask.nii.gz")):
            with page.expect_download() as begun:
                page.get_by_role("button", name=button, exact=True).click()
            assert begun.value.suggested_filename == file
            begun.value.save_as(tmp_path / file)
        assert f"LV mass {json.loads((tmp_path / 'lvray.json').read_text())['mass_g']:.1f} g" == grams.text_content()
        assert pydicom.dcmread(tmp_path / "lvray-seg.dcm").Modality == "SEG"
        assert pydicom.dcmread(tmp_path / "lvray-sr.dcm").Modality == "SR"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_rule_of_accessibility_is_broken(checkpoint: Path, browser: Browser,
                                            scheme: Literal["light", "dark"]) -> None:
    """Contrast, names, roles, order of headings: what axe knows of WCAG 2.2."""
    with serving(checkpoint, Keys(open=True)) as url, looking(browser, url) as page:
        page.emulate_media(color_scheme=scheme)
        before = Axe().run(page)
        page.get_by_role("button", name="Try a phantom").click()
        expect(page.get_by_role("heading", level=2)).to_be_visible(timeout=60_000)
        after = Axe().run(page)
    for found in (before, after):
        assert len(found.response["passes"]) > 10
        assert found.violations_count == 0, found.generate_report()


def test_a_zip_that_is_chosen_or_dropped(checkpoint: Path, study: Path, browser: Browser) -> None:
    drop = """([data]) => {
        const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0)), dropped = new DataTransfer();
        dropped.items.add(new File([bytes], "study.zip"));
        document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: dropped, bubbles: true, cancelable: true}));
    }"""
    with serving(checkpoint, Keys(open=True)) as url, looking(browser, url) as page:
        chooser = page.get_by_label("Choose a zip")
        chooser.set_input_files(study)
        expect(page.get_by_role("heading", level=2)).to_be_visible(timeout=60_000)
        with page.expect_response(lambda answer: URL in answer.url) as answered:
            page.evaluate(drop, [base64.b64encode(study.read_bytes()).decode()])
        assert answered.value.status == 200
        expect(page.get_by_text(f"of {SMALL.slices}, at the base").last).to_be_visible()


def test_what_is_wrong_is_said_and_the_key_stays_in_the_tab(checkpoint: Path, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "study.zip").write_bytes(b"hello")
    with serving(checkpoint, Keys(env={"LVRAY_API_KEYS": KEY})) as url, browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        field = page.get_by_label("API key")
        expect(field).to_be_focused()
        field.fill("wrong")
        field.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("that key lets nobody in")
        field.fill(KEY)
        field.press("Enter")
        expect(page.get_by_role("status")).to_have_text("The key is good.")
        page.get_by_label("Choose a zip").set_input_files(tmp_path / "study.zip")
        expect(page.get_by_role("alert")).to_contain_text("this file is no zip")
        assert (context.cookies(), page.evaluate("[localStorage.length, sessionStorage.length]")) == ([], [0, 0])
