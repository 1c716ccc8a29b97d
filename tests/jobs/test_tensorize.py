"""Whose contours are whose: names of the link file against the studies that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lvray.errors import UseError
from lvray.jobs import tensorize
from lvray.settings import Tensorize
from lvray.shards import convert
from lvray.shards.listing import Source


@pytest.fixture
def contours(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("one", "two", "three"):
        (tmp_path / "contours" / name).mkdir(parents=True)
    link = tmp_path / "link.csv"
    link.write_text("study,contours\nSCD0000101,one\nSCD0000201.zip,two\nSCD0000301,three\n")
    return tmp_path / "contours", link


@pytest.mark.parametrize("name", ["SCD0000101", "SCD0000101.zip", "SCD0000201", "SCD0000201.ZIP"])
def test_a_linked_study_gets_its_contours_zipped_or_not(
        contours: tuple[Path, Path], name: str, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    source = Source(1, "zip", name, name)
    found = tensorize._contours(*contours, [source])
    assert capsys.readouterr().err == "--link: 1 of 3 lines name a study of SRC\n"
    monkeypatch.setattr(convert, "text_outlines", lambda cine, folder: folder.name)
    monkeypatch.setattr(convert, "measure", lambda cine, outlines: outlines)
    cine: Any = None
    context = convert.Context(b"", Tensorize(), {}, found)
    outlines: Any = convert._outlines(source, cine, context)
    assert outlines[:2] == ("one" if "101" in name else "two", "expert")


def test_a_link_that_names_no_study_of_the_source(contours: tuple[Path, Path]) -> None:
    with pytest.raises(UseError, match="--link: none of its 3 lines names a study of SRC"):
        tensorize._contours(*contours, [Source(1, "zip", "SCD0000401.zip", "SCD0000401.zip")])
