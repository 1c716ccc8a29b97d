"""Hashes back to ids: by the same rules as those by which tensorize and predict made them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lvray.cmr.phantom.people import PhantomOptions, person
from lvray.cmr.phantom.ukb import write_participant
from lvray.errors import UseError
from lvray.jobs.link import link
from lvray.settings import Tensorize
from lvray.shards.convert import Context, convert
from lvray.shards.identity import keyed
from lvray.shards.listing import list_studies
from lvray.shards.schema import Reject

KEY = b"a key for tests, 32 bytes long.."


@pytest.fixture(scope="module")
def src(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies: a zip of UK Biobank's name, and a folder whose name is no participant's id, with a note in it."""
    folder = tmp_path_factory.mktemp("src")
    options = PhantomOptions(phases=2, slices=6, rows=64, columns=64)
    write_participant(folder, 0, 0, options)
    other = write_participant(folder, 0, 1, options)
    with zipfile.ZipFile(other) as archive:
        archive.extractall(folder / "visit a")
    (folder / "visit a" / "0 note.txt").write_text("files that are no images may come first")
    other.unlink()
    return folder


def save(tmp_path: Path, *rows: dict[str, object]) -> Path:
    file = tmp_path / "table.parquet"
    schema = pa.schema([("study", pa.string()), ("participant", pa.string()), ("mass_g", pa.float64())])
    pq.write_table(pa.Table.from_pylist(list(rows), schema), file)
    return file


def test_what_tensorize_hashed_is_found_again(src: Path, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = []
    for source in list_studies(str(src)).studies:
        made = convert(source, Context(KEY, Tensorize()))
        assert not isinstance(made, Reject)
        rows += made.select(["study", "participant"]).to_pylist()
    header, *found = link(save(tmp_path, *rows), str(src), KEY)
    assert header == ["study", "participant", "mass_g", "id"]
    assert [row[-1] for row in found] == [str(person(0, 0).eid), str(person(0, 1).eid)]
    assert {row[2] for row in found} == {""}  # an absent mass stays an empty cell


def test_a_table_of_studies_alone(src: Path, tmp_path: Path) -> None:
    file = tmp_path / "rejects.csv"
    file.write_text(f"position,study\n1,{keyed(KEY, 'study', 'visit a')}\n2,{'0' * 32}\n")
    assert [row[-1] for row in link(file, str(src), KEY)] == ["id", "visit a", ""]


def test_a_table_without_rows_stays_one(src: Path, tmp_path: Path) -> None:
    assert link(save(tmp_path), str(src), KEY) == [["study", "participant", "mass_g", "id"]]


@pytest.mark.parametrize(("text", "says"), [
    ("", "the table is not a CSV with a header"),
    ("study,mass\n1\n", "as many cells in every line"),
    ("who,mass\n1,2\n", "no column named participant or study"),
    (f"study,mass\n{'0' * 32},2\n", "is this the key that they were made with"),
])
def test_tables_that_cannot_be_linked(src: Path, tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "table.csv"
    file.write_text(text)
    with pytest.raises(UseError, match=says):
        link(file, str(src), KEY)
    (tmp_path / "table.parquet").write_bytes(b"no Parquet")
    with pytest.raises(UseError, match="cannot be read"):
        link(tmp_path / "table.parquet", str(src), KEY)
