"""What is known beside the images: it decides rows, so a change of it must show."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvray.errors import UseError
from lvray.shards import given
from lvray.shards.identity import keyed
from lvray.shards.labels import Label

KEY = b"0123456789abcdef"
LABEL = Label(90.0, "female", 160.0, 60.0)


def digest(folder: Path, mass: float = 90.0, split: str = "holdout", study: str = "a.zip", person: str = "7") -> str:
    known = given.hashed(KEY, {"7": Label(mass, "female", 160.0, 60.0)}, {"7": split}, {"a": folder})
    return known.digest(KEY, study, keyed(KEY, "participant", person))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "contours" / "deep").mkdir(parents=True)
    (tmp_path / "contours" / "deep" / "IM-0001-0001-icontour-manual.txt").write_text("1 2\n")
    return tmp_path / "contours"


def test_the_digest_tells_every_change(folder: Path) -> None:
    first = digest(folder)
    assert digest(folder) == first
    assert digest(folder, study="a") == first
    others = {digest(folder, mass=91.0), digest(folder, split="train"), digest(folder, study="b"),
              digest(folder, person="8")}
    (folder / "deep" / "IM-0001-0001-icontour-manual.txt").write_text("1 3\n")
    others.add(digest(folder))
    assert len(others | {first}) == 6


def test_nothing_given_is_the_same_for_everyone() -> None:
    nothing = given.Given()
    assert nothing.digest(KEY, "a", "b") == nothing.digest(KEY, "c", None)


@pytest.mark.parametrize("text", ["id,split\n7,holdout\n8, train\n\n", "id\tsplit\n7\tholdout\n8\ttrain\n7\tholdout\n"])
def test_listed_splits(tmp_path: Path, text: str) -> None:
    (tmp_path / "splits").write_text(text)
    assert given.read_splits(str(tmp_path / "splits")) == {"7": "holdout", "8": "train"}


@pytest.mark.parametrize(("text", "says"), [
    ("id,split\n7,test\n", "line 2: an id and one of train, validation, calibration, holdout"),
    ("id,split\n,train\n", "line 2"), ("id,split\n7\n", "line 2"), ("id,split\n", "a header line and then lines"),
    ("id,split\n7,train\n8,train\n7,holdout\n", "line 4 puts a participant of an earlier line into another split"),
])
def test_lists_that_cannot_be(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "splits").write_text(text)
    with pytest.raises(UseError, match=says) as caught:
        given.read_splits(str(tmp_path / "splits"))
    assert "7" not in str(caught.value).replace("line 7", "")


def link(folder: Path, text: str) -> dict[str, Path]:
    (folder / "link.csv").write_text(f"study,contours\n{text}")
    return given.read_link(folder, folder / "link.csv")


@pytest.mark.parametrize("study", ["SCD1", "SCD1.zip", "SCD2", "SCD2.ZIP"])
def test_a_linked_study_gets_its_contours_zipped_or_not(tmp_path: Path, study: str) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    found = given.of_these(link(tmp_path, "SCD1,one\nSCD2.zip,two\n"), [study])
    assert [path.name for path in found.values()] == ["one" if "1" in study else "two"]
    assert given.hashed(KEY, {}, {}, found).contours.keys() == {study[:4]}


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(UseError, match="1 of 2 lines name no folder"):
        link(tmp_path, "SCD1,one\nSCD2,two\n")
    with pytest.raises(UseError, match="none of its 1 lines names a study of SRC"):
        given.of_these(link(tmp_path, "SCD1,one\n"), ["SCD3"])
    with pytest.raises(UseError, match="cannot be read"):
        given.read_link(tmp_path, tmp_path / "absent.csv")
