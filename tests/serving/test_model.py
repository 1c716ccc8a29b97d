from __future__ import annotations

import io
import json
import logging
import zipfile
from pathlib import Path

import pytest

from lvray.cmr.archive import zip_members
from lvray.cmr.study import read_cine
from lvray.estimate import predict
from lvray.nets.predict import load
from lvray.serving.model import Model


@pytest.fixture
def model(checkpoint: Path) -> Model:
    return Model(str(checkpoint))


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def test_the_answer_is_that_of_predict(model: Model, checkpoint: Path, study: Path) -> None:
    with study.open("rb") as file:
        expected = predict(read_cine(zip_members(file)), load(checkpoint)).to_dict()
    assert expected["mass_g"] > 0
    assert model.estimate(study.read_bytes()) == (200, expected)


@pytest.mark.parametrize(("body", "reason"), [
    (zipped(**{"../1234567.dcm": b"x"}), "unsafe_archive"),
    (zipped(**{"1234567.dcm": b"x" * 200}), "unreadable_file"),
    (zipped(**{"1234567.txt": b"x" * 200}), "no_dicom"),
    (zipped(**{"1234567.dcm": b"x" * 200})[:-30], "unreadable_file"),
])
def test_a_refused_study_says_why_and_no_name(model: Model, body: bytes, reason: str) -> None:
    status, refusal = model.estimate(body)
    assert (status, refusal["refused"]) == (422, reason)
    assert "\n" not in refusal["detail"]
    assert "1234567" not in json.dumps(refusal)


def test_a_failure_of_lvray_is_one_line_without_the_message(model: Model, study: Path, monkeypatch: pytest.MonkeyPatch,
                                                            caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise KeyError("1234567_20209_2_0.zip")

    monkeypatch.setattr(model._predictor.model, "forward", fail)
    with caplog.at_level(logging.DEBUG):
        status, failure = model.estimate(study.read_bytes())
    assert status == 500
    assert failure["detail"].startswith("lvray itself failed (KeyError in nets/predict.py, line ")
    assert "KeyError in nets/predict.py" in caplog.text
    assert "1234567" not in json.dumps(failure) + caplog.text
    assert "Traceback" not in caplog.text
