from __future__ import annotations

import io
import re
from typing import Any

import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from lvray.evidence import training
from lvray.evidence.figures import BLUE, ORANGE
from lvray.evidence.training import Line, Training, curves, run_report
from tests.evidence.test_report import Balance


def lines(epochs: int = 5, steps: int = 20, *, validate: bool = True, waiting: float = 0.02,
          again: tuple[int, int] | None = None) -> list[Line]:
    """A run whose loss halves each epoch, and whose validation loss is least after the last but one."""
    told: list[Line] = [{"begins": [0, 0], "world": 2, "epochs": epochs, "steps": steps}]
    for epoch in range(1, epochs + 1):
        for step in range(1, steps + 1):
            if again == (epoch - 1, step - 1):
                told.append({"begins": [*again], "world": 1, "epochs": epochs, "steps": steps})
            told.append({"epoch": epoch, "step": step, "loss": 0.5 ** (epoch - 1 + step / steps), "norm": 1.0})
        entry: dict[str, Any] = {"epoch": epoch, "loss": 0.5 ** epoch, "lr": 1e-3 * 0.9 ** epoch, "world": 2,
                                 "samples_per_second": 100.0 if epoch % 2 else 50.0, "waiting": waiting,
                                 "seconds": 30.0}
        told.append(entry | ({"validation_loss": 1.0 + abs(epochs - 1 - epoch)} if validate else {}))
    return told


def page_of(told: list[Line], for_show: bool = False) -> str:
    return run_report(Training(
        recipe="smoke_seg", epochs=6, lines=told, for_show=for_show,
        facts={"Data": {"manifest (sha256)": "9f" * 32}, "Hardware": {"gpu": None}},
        settings={"optimiser": {"lr": "0.001 <script>"}}), b"\x89PNG")


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("<body>")[1]))


def pixels_like(png: bytes, colour: str) -> int:
    picture = imread(io.BytesIO(png), format="png")[..., :3]
    return int((abs(picture - to_rgb(colour)).max(axis=-1) < 0.06).sum())


def test_curves_show_training_and_validation() -> None:
    both, alone = curves(lines()), curves(lines(validate=False))
    assert pixels_like(both, BLUE) > 1000
    assert pixels_like(both, ORANGE) > 500
    assert pixels_like(alone, ORANGE) == 0


def test_a_run_that_began_again_is_marked() -> None:
    assert curves(lines(again=(2, 7))) != curves(lines())


@pytest.mark.parametrize("told", [[], lines()[:1], lines()[:2], lines()[:9], lines(1, 1), lines(120, 300),
                                  [{"epoch": 1, "step": 1, "loss": -0.5}, {"epoch": 1, "step": 2, "loss": 0.0}]])
def test_curves_of_runs_of_every_length_stay_small(told: list[Line]) -> None:
    png = curves(told)
    assert png == curves(told)
    assert png.startswith(b"\x89PNG")
    assert len(png) < 150_000


def test_the_page_is_whole_and_needs_nothing_beside_it() -> None:
    page = page_of(lines(again=(1, 0)), for_show=True)
    reader = Balance()
    reader.feed(page)
    assert reader.open == []
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources)
    assert not re.search(r"https?:|@import|url\(|<script", page)
    assert page == page_of(lines(again=(1, 0)), for_show=True)


def test_the_page_says_how_the_run_went() -> None:
    page = page_of(lines(waiting=0.015))
    text = text_of(page)
    for words in ("smoke_seg reached a validation loss of 1 after epoch 4 of 6.", "samples a second 80",
                  "of the time waiting for data 1.5 %", "of training, validation apart 2 min", "epochs 5 of 6",
                  "start 1", "9f" * 32, "optimiser", "0.001 &lt;script&gt;", "Not a medical device"):
        assert words in text
    assert 'class="best"><th scope="row">4</th><td>0.0625</td><td>1</td>' in page
    assert not re.search("Starts|demonstration|would speed it up|<details>", page)


def test_the_page_says_what_was_out_of_the_ordinary() -> None:
    text = text_of(page_of(lines(epochs=training.SHOWN + 1, waiting=0.2, again=(2, 7)), for_show=True))
    for words in ("epoch 3, step 8 1", "for demonstration", "would speed it up", "All 13", "starts 2"):
        assert words in text


def test_a_run_without_validation() -> None:
    text = text_of(page_of(lines(validate=False)))
    assert "came to a training loss of 0.03125 after epoch 5 of 6; there was no study to validate on" in text
    assert not re.search(r"\bnan\b|\bNone\b", text)


def test_the_page_of_a_run_that_told_nothing() -> None:
    text = text_of(page_of([]))
    assert "has not been validated yet" in text
    assert not re.search(r"\bnan\b|\bNone\b", text)
