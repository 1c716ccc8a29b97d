"""The files: the same bytes each time, headers and overlays as UK Biobank's, tables beside them."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset

from lvray.cmr.archive import zip_members
from lvray.cmr.measure import measure, overlay_outlines
from lvray.cmr.phantom.outlines import raster
from lvray.cmr.phantom.participant import frames, inlinevf, participant, truth
from lvray.cmr.phantom.people import PhantomOptions
from lvray.cmr.phantom.ukb import write, write_participant
from lvray.cmr.study import read_cine

OPTIONS = PhantomOptions(phases=4, slices=7, rows=80, columns=72)


def read(path: Path) -> list[FileDataset]:
    with zipfile.ZipFile(path) as archive:
        return [pydicom.dcmread(io.BytesIO(archive.read(name)))
                for name in archive.namelist() if name.endswith(".dcm")]


def having(quirk: str | None) -> int:
    """The first participant with this quirk and InlineVF outlines, or without any quirk."""
    subjects = (participant(0, number, OPTIONS) for number in range(200))
    return next(s.number for s in subjects if s.person.inlinevf == "normal"
                and (quirk in s.quirks if quirk else not s.quirks))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    first, again = (write_participant(tmp_path / name, 3, 1, OPTIONS) for name in "ab")
    assert first.name == again.name
    assert first.read_bytes() == again.read_bytes()
    assert write_participant(tmp_path / "a", 4, 1, OPTIONS).read_bytes() != first.read_bytes()


def test_series_headers_and_manifest(tmp_path: Path) -> None:
    number = having(None)
    path = write_participant(tmp_path, 0, number, OPTIONS)
    subject = participant(0, number, OPTIONS)
    assert path.name == f"{subject.person.eid}_20209_2_0.zip"
    images = read(path)
    names = {f"CINE_segmented_SAX_b{b}" for b in range(1, 8)} | {"CINE_segmented_SAX_InlineVF"}
    assert {ds.SeriesDescription for ds in images} == names
    assert len(images) == 2 * 4 * 7
    assert len({ds.SOPInstanceUID for ds in images}) == len(images)
    assert all(ds.SOPInstanceUID.is_valid and ds.SeriesInstanceUID.is_valid for ds in images)
    planes = [np.array(ds.ImagePositionPatient, float) for ds in images if ds.InstanceNumber == 1][:-1]
    axes = np.array(images[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(*axes)
    assert np.diff([p @ normal for p in planes]) == pytest.approx(-10.0, abs=1e-4)
    assert -normal @ np.array([1, -1, -1]) / np.sqrt(3) > np.cos(np.radians(15.1))
    with zipfile.ZipFile(path) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_DEFLATED}
        header, line, *_ = archive.read("manifest.cvs").decode().splitlines()
    assert f"{subject.person.visit:%b %d, %Y}" in line
    assert line.count(",") == header.count(",") + 1


def test_overlays_are_the_outlines_least_significant_bit_first(tmp_path: Path) -> None:
    number = having(None)
    subject = participant(0, number, OPTIONS)
    expected = {phase: inlinevf(subject, phase) for phase in (0, subject.es)}
    for ds in read(write_participant(tmp_path, 0, number, OPTIONS)):
        inline = ds.SeriesDescription.endswith("InlineVF")
        index, phase = divmod(ds.InstanceNumber - 1, OPTIONS.phases)
        drawn = expected.get(phase) if inline else None
        outline = drawn[index] if drawn else None
        assert ((0x6000, 0x3000) in ds) == (outline is not None)
        if outline is not None:
            data = ds[0x6000, 0x3000].value
            assert len(data) % 2 == 0
            bits = [(data[i // 8] >> (i % 8)) & 1 for i in range(80 * 72)]
            assert np.array_equal(np.array(bits, bool).reshape(80, 72), raster(outline, 80, 72))
            assert np.array_equal(ds.overlay_array(0x6000), raster(outline, 80, 72))


def test_without_bias_inlinevf_draws_the_true_outlines() -> None:
    number = having(None)
    biased, unbiased = (participant(0, number, replace(OPTIONS, bias=bias)) for bias in (True, False))
    true, drawn, usual = truth(unbiased).outlines, inlinevf(unbiased, 0), inlinevf(biased, 0)
    assert drawn is not None
    assert usual is not None
    assert any(outline is not None for outline in true)
    for one, other, wrong in zip(true, drawn, usual, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert np.array_equal(one.epi, other.epi)
            assert wrong is None or not np.array_equal(raster(wrong, 80, 72), raster(one, 80, 72))
    assert inlinevf(unbiased, 3) is None


@pytest.mark.parametrize("quirk", [None, "results", "valve", "rescan", "mixed", "from_apex"])
def test_the_reader_finds_the_same_heart(tmp_path: Path, quirk: str | None) -> None:
    number = having(quirk)
    subject = participant(0, number, OPTIONS)
    with write_participant(tmp_path, 0, number, OPTIONS).open("rb") as file:
        cine = read_cine(zip_members(file))
        volume, found = cine.volume(0), measure(cine, overlay_outlines(cine))
    assert volume.spacing == pytest.approx((10.0, subject.scan.pixel_mm, subject.scan.pixel_mm), abs=1e-4)
    assert np.array_equal(volume.image, np.stack([frames(subject, index)[0] for index in range(OPTIONS.slices)]))
    drawn = truth(subject).inlinevf
    assert drawn is not None
    assert list(found.slices) == [z for z, outline in enumerate(drawn) if outline is not None]
    inner = [z for z, outline in enumerate(drawn) if outline is not None and outline.endo is not None]
    assert sorted(set(np.argwhere(found.mask == 1)[:, 0])) == inner


def test_tables(tmp_path: Path) -> None:
    done: list[int] = []
    write(tmp_path, 3, 0, OPTIONS, done.append)
    assert done == [1, 2, 3]
    header, *rows = (line.split("\t") for line in (tmp_path / "labels.tsv").read_text().splitlines())
    known = [line.split("\t") for line in (tmp_path / "truth.tsv").read_text().splitlines()[1:]]
    assert (header[1], header[13]) == ("application_id", "lv_mass_g")
    assert {"sex", "height_cm", "weight_kg"} <= set(header)
    assert {f"{row[1]}_20209_2_0.zip" for row in rows} == {p.name for p in tmp_path.glob("*.zip")}
    for row, (eid, mass, *_, state) in zip(rows, known, strict=True):
        assert row[1] == eid
        assert float(row[13]) == pytest.approx(float(mass), abs=20)
        assert state in ("normal", "absent", "gross")
