"""writer, manifest and dataset together: what is written is what is listed, and only that is trusted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lvray.errors import EnvironmentFault, KeyMismatch, LvrayError, UseError
from lvray.settings import Splits, Tensorize
from lvray.shards import manifest, parts, writer
from lvray.shards.dataset import Dataset, open_dataset, rejects, select, summary, unlisted, verify
from lvray.shards.schema import Row, to_arrow

Write = Callable[..., Dataset]
MANIFEST = "manifest-00001.json"


def files(dataset: Dataset) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(dataset.uri).iterdir()}


def edit(dataset: Dataset, **changes: object) -> None:
    path = Path(dataset.uri) / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_index_lists_every_row_where_it_lies(dataset: Dataset, rows: list[Row]) -> None:
    assert Counter(dataset.column("study")) == Counter(row.study for row in rows)
    for i, shard, group, at in zip(range(40), *(dataset.column(n) for n in ("shard", "group", "at")), strict=True):
        part = dataset.manifest.shards[shard]
        table = pq.ParquetFile(Path(dataset.uri) / part.name).read_row_group(group)
        assert table["study"][int(at)].as_py() == dataset.column("study")[i]
        assert part.name.startswith(dataset.column("split")[i])


def test_manifest_adds_up(dataset: Dataset, rows: list[Row]) -> None:
    listed = dataset.manifest
    assert (listed.studies, listed.index.rows, listed.rejects.rows) == (42, 40, 2)
    assert listed.splits == Counter(row.split for row in rows)
    assert listed.max_shape == tuple(np.max([row.image.shape for row in rows], axis=0))
    assert set(files(dataset)) == {MANIFEST, listed.index.name, listed.rejects.name,
                                   *(part.name for part in listed.shards)}
    assert rejects(dataset)["position"].to_pylist() == [40, 41]


def test_same_input_same_bytes(write: Write, rows: list[Row]) -> None:
    assert files(write(rows, name="a")) == files(write(rows, name="b"))


def test_a_second_run_changes_nothing(write: Write, rows: list[Row]) -> None:
    first = files(write(rows))
    assert files(write(rows)) == first


def test_of_two_writers_of_one_generation_the_first_stands(write: Write, rows: list[Row]) -> None:
    dataset = write(rows)
    with pytest.raises(AssertionError, match="publish"):
        write(rows[:-1])
    assert verify(dataset.uri).checksum == dataset.checksum
    assert manifest.generations(dataset.uri) == [1]


def test_a_generation_adds_and_changes_nothing(write: Write, rows: list[Row]) -> None:
    first = write(rows[:25])
    held = files(first)
    second = write(rows[25:], rejects=0, standing=first)
    assert manifest.generations(first.uri) == [1, 2]
    assert {name: data for name, data in files(second).items() if name in held} == held
    assert second.index.slice(0, 25).equals(first.index)
    assert second.manifest.shards[:len(first.manifest.shards)] == first.manifest.shards
    assert Counter(second.column("study")) == Counter(row.study for row in rows)
    assert (second.manifest.studies, second.manifest.rejects.rows) == (42, 2)
    assert verify(first.uri).index.num_rows == 40
    names = [part.name.rsplit("-", 1)[0] for part in second.manifest.shards]
    assert len(set(names)) == len(names)


def test_an_earlier_generation_stays_readable(write: Write, rows: list[Row]) -> None:
    first = write(rows[:25])
    write(rows[25:], rejects=0, standing=first)
    assert open_dataset(first.uri, first.checksum).index.equals(first.index)
    with pytest.raises(UseError, match="no generation with the manifest that is asked for"):
        open_dataset(first.uri, "of another data set")


def test_what_no_manifest_lists_is_told_and_not_read(write: Write, rows: list[Row]) -> None:
    first = write(rows[:25])
    second = write(rows[25:], rejects=0, standing=first)
    assert unlisted(second) == []
    (Path(second.uri) / "train-00009-0123456789ab.parquet").write_bytes(b"half a shard")
    (Path(second.uri) / "seen.parquet").write_bytes(b"")
    assert unlisted(second) == ["train-00009-0123456789ab.parquet"]
    assert verify(second.uri).checksum == second.checksum


def test_shards_are_cut_by_size_in_whole_groups(write: Write, rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    everyone_trains = Splits(holdout=0, validation=0, calibration=0)
    settings = Tensorize(group_rows=4, shard_mb=1, splits=everyone_trains)
    big = [Row(**{**vars(r), "split": "train", "mask": None, "mask_source": None,
                  "others": None, "other_phases": (), "other_masks": None, "other_mask_phases": (),
                  "image": np.random.default_rng(0).normal(size=(2, 160, 160)).astype(np.float32)}) for r in rows[:21]]
    dataset = write(big, settings=settings)
    sizes = [part.rows for part in dataset.manifest.shards]
    assert sizes == [8, 8, 5]
    assert dataset.column("study").tolist() == [r.study for r in big]
    assert dataset.column("group").tolist() == [0, 0, 0, 0, 1, 1, 1, 1] * 2 + [0, 0, 0, 0, 1]


def test_every_study_is_a_row_or_a_reject(tmp_path: Path, rows: list[Row]) -> None:
    work = str(tmp_path / "work")
    notes = pa.concat_tables([parts.stage(work, f"{i}.parquet", to_arrow([r])) for i, r in enumerate(rows[:2])])
    with pytest.raises(LvrayError, match="3 studies, but 2 rows and 0 rejects"):
        writer.write(str(tmp_path), work, notes, [], studies=3, key="k", settings=Tensorize())
    assert not (tmp_path / MANIFEST).exists()


def test_only_rejects_is_a_data_set_of_no_rows(write: Write) -> None:
    dataset = write([])
    assert verify(dataset.uri).index.num_rows == 0
    assert summary(dataset.uri)["reject_reasons"] == {"missing_slice": 2}


def test_select(dataset: Dataset, rows: list[Row]) -> None:
    by_study = {row.study: row for row in rows}
    found = [by_study[s] for s in dataset.column("study")[select(dataset, ["train", "holdout"], ["mask", "manual_g"])]]
    want = [r for r in rows if r.split in ("train", "holdout") and r.mask is not None and r.manual_g is not None]
    assert Counter(r.study for r in found) == Counter(r.study for r in want)
    assert len(want) > 5


def test_summary(dataset: Dataset, rows: list[Row]) -> None:
    found = summary(dataset.uri)
    assert found["flags"] == {"uneven_pitch": 4}
    assert sum(s["with_mask"] for s in found["splits"].values()) == sum(r.mask is not None for r in rows)
    assert not any(row.participant in json.dumps(found) for row in rows)


@pytest.mark.parametrize("prefix", ["train", "index", "rejects"])
@pytest.mark.parametrize("harm", ["flip", "remove"])
def test_verify_names_what_is_broken(dataset: Dataset, prefix: str, harm: str) -> None:
    path = next(p for p in Path(dataset.uri).iterdir() if p.name.startswith(prefix))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data) if harm == "flip" else path.unlink()
    with pytest.raises(UseError, match=f"{path.name} is {'damaged' if harm == 'flip' else 'missing'}"):
        verify(dataset.uri)


def test_verify_compares_rows_with_the_index(write: Write, rows: list[Row]) -> None:
    dataset, other = write(rows, name="a"), write(rows[::-1], name="b")
    for part in other.manifest.shards:
        (Path(dataset.uri) / part.name).write_bytes((Path(other.uri) / part.name).read_bytes())
    edit(dataset, shards=[part.model_dump() for part in other.manifest.shards])
    with pytest.raises(UseError, match="holds other rows than the index lists"):
        verify(dataset.uri)


@pytest.mark.parametrize(("changes", "says"), [
    ({"version": 9}, "schema version 9; this lvray reads 2"),
    ({"studies": 50}, "50 studies, but 40 rows and 2 rejects"),
    ({"splits": {"train": 1}}, "40 rows in shards, 40 in the index and 1 in splits"),
    ({"shards": 3}, "damaged"),
])
def test_a_manifest_that_lies(dataset: Dataset, changes: dict[str, object], says: str) -> None:
    edit(dataset, **changes)
    with pytest.raises(UseError, match=says):
        open_dataset(dataset.uri)


def test_nothing_to_open(tmp_path: Path, dataset: Dataset) -> None:
    with pytest.raises(EnvironmentFault, match="cannot read the data set: No such file or directory"):
        open_dataset(str(tmp_path / "absent"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UseError, match="no data set there"):
        open_dataset(str(tmp_path / "empty"))
    (Path(dataset.uri) / MANIFEST).write_text("{")
    with pytest.raises(UseError, match="damaged"):
        open_dataset(dataset.uri)


def test_another_key_is_refused(dataset: Dataset) -> None:
    manifest.check_key(dataset.manifest, dataset.manifest.key)
    with pytest.raises(KeyMismatch):
        manifest.check_key(dataset.manifest, "0" * 16)
