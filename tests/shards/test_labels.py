from __future__ import annotations

from pathlib import Path

import pytest

from lvray.errors import UseError
from lvray.shards.labels import Label, read_labels

HEADER = ["n", "app_id", *(f"c{i}" for i in range(2, 13)), "lvm_g", "sex", "height_cm", "weight_kg"]


def line(person: str, mass: str, *rest: str) -> list[str]:
    return ["0", person, *[""] * 11, mass, *rest]


def labels(folder: Path, *lines: list[str], header: list[str] = HEADER) -> dict[str, Label]:
    path = folder / "labels.tsv"
    path.write_text("".join("\t".join(cells) + "\n" for cells in (header, *lines)))
    return read_labels(str(path))


def test_mass_and_demographics(tmp_path: Path) -> None:
    found = labels(tmp_path, line("11", "92.5", "0", "171.5", "70"), line("12", "", "Male"), [], line("13", "120", "f"))
    assert found == {"11": Label(92.5, "female", 171.5, 70.0), "12": Label(None, "male", None, None),
                     "13": Label(120.0, "female", None, None)}


def test_without_the_optional_columns(tmp_path: Path) -> None:
    assert labels(tmp_path, line("11", "92.5"), header=HEADER[:14]) == {"11": Label(92.5, None, None, None)}


@pytest.mark.parametrize(("bad", "says"), [
    (line("4455667", "0"), "line 3: LV mass"), (line("4455667", "500"), "line 3: LV mass"),
    (line("4455667", "nan"), "line 3: LV mass"), (line("4455667", "ninety"), "line 3: LV mass"),
    (line("4455667", "90", "2"), "line 3: sex"), (line("4455667", "90", "", "1.7"), "line 3: height"),
    (line("4455667", "90", "", "", "-3"), "line 3: weight"), (["0", "4455667"], "line 3 needs an id"),
    (line("", "90"), "line 3 needs an id"), (line("11", "90"), "line 3 repeats"),
])
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, bad: list[str], says: str) -> None:
    with pytest.raises(UseError, match=says) as caught:
        labels(tmp_path, line("11", "92.5"), bad)
    assert "4455667" not in str(caught.value)


def test_a_file_without_a_header_would_lose_a_person(tmp_path: Path) -> None:
    with pytest.raises(UseError, match="line 1 must be a header"):
        labels(tmp_path, header=line("11", "92.5"))


def test_not_text(tmp_path: Path) -> None:
    (tmp_path / "labels.tsv").write_bytes(b"a\xff")
    with pytest.raises(UseError, match="byte 1 is not UTF-8"):
        read_labels(str(tmp_path / "labels.tsv"))
