"""Which images are the short-axis cine, and which studies are refused."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from lvray.cmr.archive import folder_members
from lvray.cmr.measure import measure, overlay_outlines
from lvray.cmr.phantom.participant import Participant, frames, truth
from lvray.cmr.quality import Flag
from lvray.cmr.study import Cine, read_cine
from lvray.errors import Reason, StudyRefused
from lvray.settings import Quality

Phantom = Callable[..., tuple[Participant, Cine]]


def refusal(make: Any, images: list[Dataset]) -> StudyRefused:
    with pytest.raises(StudyRefused) as refused:
        make.cine(images)
    return refused.value


def other(images: list[Dataset], **changes: object) -> list[Dataset]:
    """The images again as another series."""
    again, series = copy.deepcopy(images), generate_uid()
    for ds in again:
        ds.SeriesInstanceUID, ds.SOPInstanceUID = series, generate_uid()
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        for name, value in changes.items():
            setattr(ds, name, value)
    return again


def same(a: Cine, b: Cine) -> bool:
    volumes = zip(a.volumes(range(a.phases)).values(), b.volumes(range(b.phases)).values(), strict=True)
    return (a.spacing, a.flags) == (b.spacing, b.flags) and np.array_equal(a.affine, b.affine) and all(
        np.array_equal(v.image, w.image) for v, w in volumes)


def test_slices_by_position_and_phases_by_time_whatever_the_numbers(make: Any) -> None:
    images = make.stack()
    r = random.Random(1)
    for ds, n in zip(images, r.sample(range(1, 100), len(images)), strict=True):
        ds.InstanceNumber = n
    r.shuffle(images)
    cine = make.cine(images)
    assert (cine.slices, cine.phases, cine.shape) == (4, 3, (4, 20, 24))
    assert cine.spacing == pytest.approx((10.0, 1.5, 2.0))
    assert [cine.volume(p).image[z, 0, 0] for z in range(4) for p in range(3)] == [
        1000 * z + 10000 * p for z in range(4) for p in range(3)]
    assert cine.flags == ()


def test_base_first(make: Any) -> None:
    cine = make.cine(make.stack())
    assert -cine.affine[:3, 0] @ (-1, 1, 1) > 0


def test_frame_of_reference_and_slice_location_and_thickness_are_not_looked_at(make: Any) -> None:
    images = make.stack()
    assert len({ds.FrameOfReferenceUID for ds in images}) == len(images)
    expected = make.cine(images)
    for n, ds in enumerate(images):
        ds.FrameOfReferenceUID, ds.SliceLocation, ds.SliceThickness = "1.2", n * 7 % 5, 99
    assert same(make.cine(images), expected)


def test_orientations_that_differ_by_rounding_are_one_stack(make: Any) -> None:
    images = make.stack()
    for n, ds in enumerate(images):
        ds.ImageOrientationPatient = [v + 1e-6 * (n % 3) for v in ds.ImageOrientationPatient]
    cine = make.cine(images)
    assert (cine.slices, cine.phases) == (4, 3)


def test_anisotropic_pixels(make: Any) -> None:
    images = make.stack(spacing=(1.25, 2.0))
    assert make.cine(images).spacing == pytest.approx((10, 1.25, 2.0))


@pytest.mark.parametrize("name", ["scout", "Localizer SAX", "CINE_segmented_LAX_2Ch", "mitral flow", "4ch", "LVOT"])
def test_other_views_are_not_taken_for_short_axis(make: Any, name: str) -> None:
    assert refusal(make, make.stack(description=name)).reason == Reason.NO_SHORT_AXIS


@pytest.mark.parametrize("axes", [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)])
def test_without_a_name_the_direction_decides(make: Any, axes: tuple[int, ...]) -> None:
    images = make.stack(description="")
    assert make.cine(images).slices == 4
    normal = np.cross(axes[:3], axes[3:])
    for n, ds in enumerate(images):
        ds.ImageOrientationPatient, ds.ImagePositionPatient = list(axes), [float(v) for v in normal * 10 * (n // 3)]
    assert refusal(make, images).reason == Reason.NO_SHORT_AXIS


def test_real_localizers_and_epi_are_not_taken_for_short_axis(shared: Path, make: Any) -> None:
    folder = shared / "dicom_samples"
    for pattern in ("localizer_not_sax/SCD0000101*", "localizer_not_sax/SCD0001901*", "localizer_not_sax/SCD0004501*",
                    "ge_epi/GE*", "ge_epi/SIEMENS*", "enhanced_multiframe/*XA10/*", "enhanced_multiframe/siemens*",
                    "enhanced_multiframe/IM*", "overlay/*"):
        files = [p.read_bytes() for p in sorted(folder.glob(pattern))]
        assert files or "XA10" in pattern
        with pytest.raises(StudyRefused) as refused:
            make.cine(files)
        assert refused.value.reason in (Reason.NO_SHORT_AXIS, Reason.NO_DICOM), pattern


def test_a_localizer_beside_the_cine_changes_nothing(make: Any) -> None:
    images = make.stack()
    scout = make.stack(slices=3, phases=1, description="localizer", number=1)
    for ds, axes in zip(scout, ([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [0] * 6), strict=True):
        ds.ImageOrientationPatient = axes
    short_axis_scout = make.stack(slices=5, phases=1, description="SAX scout", number=2, pitch=7)
    assert same(make.cine([*scout, *short_axis_scout, *images]), make.cine(images))


def test_a_real_localizer_beside_the_real_cine_changes_nothing(sunnybrook: Path, shared: Path,
                                                               real: Callable[[str], Cine]) -> None:
    scouts = folder_members(shared / "dicom_samples" / "localizer_not_sax")[:3]
    cine = read_cine([*scouts, *folder_members(sunnybrook / "dicom" / "SCD0000101")])
    assert same(cine, real("SCD0000101"))


def test_a_second_short_axis_stack_is_flagged(make: Any) -> None:
    images, fewer = make.stack(), make.stack(phases=2, number=9)
    for ds in fewer:
        ds.ImageOrientationPatient = [0.6, 0.8, 0, -0.48, 0.36, -0.8]
    cine = make.cine([*images, *fewer])
    assert cine.phases == 3
    assert cine.flags == (Flag.SEVERAL_STACKS,)


def test_two_patients(make: Any) -> None:
    images = make.stack()
    images[5].PatientID = "secret"
    refused = refusal(make, images)
    assert refused.reason == Reason.SEVERAL_PATIENTS
    assert "secret" not in str(refused)
    for ds in images:
        ds.PatientID, ds.PatientName = "", "A"
    assert make.cine(images)
    images[5].PatientName = "B"
    assert refusal(make, images).reason == Reason.SEVERAL_PATIENTS


def test_a_missing_slice(make: Any) -> None:
    images = make.stack(slices=6)
    refused = refusal(make, images[:6] + images[9:])
    assert refused.reason == Reason.MISSING_SLICE
    assert "20.0 mm between slices 2 and 3, 10.0 mm between slices 1 and 2" in str(refused)


def test_a_slice_too_many(make: Any) -> None:
    images = make.stack(slices=6)
    between = make.stack(slices=6, pitch=15 / 2)[6:9]  # 15 mm below the first: halfway from the second to the third
    refused = refusal(make, [*images, *between])
    assert refused.reason == Reason.MISSING_SLICE
    assert "one is too many: 10.0 mm between slices 1 and 2, 5.0 mm between slices 2 and 3" in str(refused)


def test_a_real_missing_slice(sunnybrook: Path) -> None:
    members = [m for m, path in zip(folder_members(sunnybrook / "dicom" / "SCD0000101"),
                                    sorted((sunnybrook / "dicom" / "SCD0000101").glob("*")), strict=True)
               if not 121 <= int(path.stem) <= 140]
    assert len(members) == 220
    with pytest.raises(StudyRefused) as refused:
        read_cine(members)
    assert refused.value.reason == Reason.MISSING_SLICE


def test_a_single_slice(make: Any) -> None:
    assert refusal(make, make.stack(slices=1)).reason == Reason.SINGLE_SLICE


@pytest.mark.parametrize("value", [[0, 0], None, [1.5, 2.1]])
def test_spacing_absent_zero_or_different_in_one_image(make: Any, value: object) -> None:
    images = make.stack()
    images[6].PixelSpacing = value  # phase 1 of slice 3
    assert refusal(make, images).reason == Reason.BAD_SPACING
    for ds in images:
        ds.PixelSpacing = value if value != [1.5, 2.1] else [0, 2]
    assert refusal(make, images).reason == Reason.BAD_SPACING


def test_an_image_of_the_cine_without_a_place(make: Any) -> None:
    images = make.stack()
    images[5].ImagePositionPatient = None
    refused = refusal(make, images)
    assert refused.reason == Reason.BAD_GEOMETRY
    assert "image 6 " in str(refused)


def test_a_lost_image_leaves_its_phase_out(make: Any) -> None:
    images = make.stack()
    cine = make.cine(images[:4] + images[5:])  # slice 2, phase 2
    assert cine.flags == (Flag.PHASES_INCOMPLETE,)
    assert [cine.complete(p) for p in range(3)] == [True, False, True]
    with pytest.raises(StudyRefused, match="slice 2 has no image at phase 2") as refused:
        cine.volume(1)
    assert refused.value.reason == Reason.MISSING_PHASE
    assert cine.volume(2).image[1, 0, 0] == 21000


def test_an_uneven_or_shifted_stack_is_flagged(make: Any) -> None:
    images = make.stack()
    along = np.cross(*np.array(images[0].ImageOrientationPatient, float).reshape(2, 3))
    for mm, direction, flag in ((2.0, along, Flag.UNEVEN_PITCH), (4.0, np.array([0.8, 0.6, 0]), Flag.SLICE_SHIFT)):
        moved = copy.deepcopy(images)
        for ds in moved[3:6]:
            ds.ImagePositionPatient = [float(v) for v in np.array(ds.ImagePositionPatient, float) + mm * direction]
        assert make.cine(moved).flags == (flag,)
        assert make.cine(moved, Quality(stack_slices=(2, 16), pitch_share=0.3, shift_mm=5.0)).flags == ()


@pytest.mark.parametrize(("slices", "usual"), [(6, False), (7, True), (16, True), (17, False)])
def test_missing_or_extra_slices_are_flagged(make: Any, slices: int, usual: bool) -> None:
    images = make.stack(slices=slices, phases=1)
    assert (Flag.SLICES_UNUSUAL not in make.cine(images, Quality()).flags) == usual
    assert Flag.SLICES_UNUSUAL not in make.cine(images, Quality(stack_slices=(6, 17))).flags


@pytest.mark.parametrize(("spacing", "usual"), [
    ((0.6, 1.5), False), ((0.7, 2.5), True), ((1.5, 2.6), False), ((1.83, 1.83), True)])
def test_unusual_pixels_are_flagged(make: Any, spacing: tuple[float, float], usual: bool) -> None:
    images = make.stack(spacing=spacing)
    assert (Flag.PIXEL_UNUSUAL not in make.cine(images).flags) == usual
    assert Flag.PIXEL_UNUSUAL not in make.cine(images, Quality(pixel_mm=(0.5, 3.0))).flags


def test_of_two_complete_takes_of_a_slice_the_last_counts(make: Any) -> None:
    images = make.stack()
    again = other(images[3:6], SeriesNumber=8, AcquisitionTime="130000")
    for ds in again:
        ds.PixelData = bytes(len(ds.PixelData))
    for first, second in ((images, again), (again, images)):
        cine = make.cine([*first, *second])
        assert (cine.slices, cine.phases, cine.flags) == (4, 3, ())
        assert all((cine.volume(p).image[1] == 0).all() for p in range(3))


def test_a_take_that_lies_a_little_off_is_the_same_slice(make: Any) -> None:
    images = make.stack()
    again = other(images[3:6], SeriesNumber=8)
    for ds in again:
        ds.ImagePositionPatient = [v + 0.4 for v in ds.ImagePositionPatient]
    assert make.cine([*images, *again]).slices == 4


def test_an_incomplete_last_take_does_not_count(make: Any) -> None:
    images = make.stack()
    again = other(images[3:5], SeriesNumber=8, AcquisitionTime="130000")
    for ds in again:
        ds.TriggerTime += 7
    assert same(make.cine([*images, *again]), make.cine(images))


def test_a_take_that_repeats_the_series_and_its_numbers(make: Any) -> None:
    images = make.stack()
    again = other(images[3:6], AcquisitionTime="130000", SeriesInstanceUID=images[0].SeriesInstanceUID)
    for ds in again:
        ds.TriggerTime += 7
        ds.PixelData = bytes(len(ds.PixelData))
    cine = make.cine([*again, *images])
    assert (cine.slices, cine.phases, cine.flags) == (4, 3, ())
    assert all((cine.volume(p).image[1] == 0).all() for p in range(3))


def test_a_series_for_each_phase(make: Any) -> None:
    images = make.stack()
    split = [ds for p in range(3) for ds in other(images[p::3], SeriesNumber=10 + p)]
    assert same(make.cine(split), make.cine(images))


def test_results_of_the_scanner_are_skipped(make: Any) -> None:
    images = make.stack(description="CINE_segmented_SAX_b1")
    results = other(images[:3], SeriesDescription="Inline_VF_Results", SeriesNumber=60)
    for ds in results:
        make.draw(ds, make.square((20, 24), 5, 15))
    cine = make.cine([*images, *results])
    assert not cine.outlined
    assert same(cine, make.cine(images))


def test_a_study_of_the_inlinevf_series_alone(make: Any) -> None:
    images = make.stack(description="CINE_segmented_SAX_InlineVF")
    make.draw(images[4], make.square((20, 24), 5, 15))
    cine = make.cine(images)
    assert list(cine.outlined) == [(1, 1)]
    assert cine.first_phase_is_ed


def test_outlines_go_to_the_slice_and_the_moment_they_were_drawn_at(make: Any) -> None:
    images = make.stack(description="CINE_segmented_SAX_b1")
    drawn = other(images, SeriesDescription="CINE_segmented_SAX_InlineVF", SeriesNumber=60)
    make.draw(drawn[7], make.square((20, 24), 5, 15))
    for n, ds in enumerate(drawn):
        ds.InstanceNumber, ds.TriggerTime = n + 1, ds.TriggerTime + 3
        ds.PixelData = bytes(len(ds.PixelData))  # its pixels do not count
    cine = make.cine(drawn[::-1] + images)
    assert list(cine.outlined) == [(2, 1)]
    assert same(cine, make.cine(images))


def test_times_that_are_the_same_everywhere_do_not_lose_images(make: Any) -> None:
    images = make.stack()
    for ds in images:
        ds.TriggerTime = 0
    cine = make.cine(images)
    assert (cine.phases, cine.flags) == (3, (Flag.PHASES_WITHOUT_TIMES,))


@pytest.mark.parametrize("quirks", [(), ("mixed",), ("results",), ("valve",), ("rescan",), ("from_apex",)])
def test_uk_biobanks_layouts(phantom: Phantom, quirks: tuple[str, ...]) -> None:
    subject, cine = phantom(*quirks)
    assert cine.first_phase_is_ed
    assert cine.flags == (Flag.PHANTOM,)
    assert (cine.slices, cine.phases) == (7, 4)
    assert {p for _, p in cine.outlined} == {0, subject.es}
    expected = np.stack([frames(subject, z) for z in range(7)], 1)
    assert np.array_equal([v.image for v in cine.volumes(range(4)).values()], expected)
    drawn = [z for z, outline in enumerate(truth(subject).inlinevf or []) if outline]
    assert list(measure(cine, overlay_outlines(cine)).slices) == drawn


def test_a_text_file_beside_the_images_and_one_named_dcm(make: Any, tmp_path: Path) -> None:
    for n, ds in enumerate(make.stack()):
        (tmp_path / f"{n:02}").write_bytes(make.bytes(ds))
    (tmp_path / "notes.txt").write_text("notes")
    assert read_cine(folder_members(tmp_path)).slices == 4
    (tmp_path / "secret.dcm").write_text("notes")
    with pytest.raises(StudyRefused) as refused:
        read_cine(folder_members(tmp_path))
    assert refused.value.reason == Reason.UNREADABLE_FILE
    assert "secret" not in str(refused.value)


def test_nothing_of_the_patient_shows(make: Any, tmp_path: Path) -> None:
    images = make.stack(slices=2, phases=1)
    for n, ds in enumerate(images):
        ds.PatientID, ds.PatientName, ds.PatientBirthDate = "secret1", "secret2", "19500102"
        (tmp_path / f"secret3_{n}.dcm").write_bytes(make.bytes(ds))
    cine = read_cine(folder_members(tmp_path))
    text = repr(cine) + str(cine) + repr(cine.frames[0][0])
    assert "secret" not in text
    assert "19500102" not in text


def test_a_compressed_cine_reads_each_file_once(make: Any) -> None:
    images = make.members(make.stack())
    reads: list[int] = []

    def counted(m: Any) -> Any:
        def opened() -> Any:
            reads.append(m.number)
            return m.open()

        return type(m)(m.number, m.size, opened, m.dicom_name)

    cine = read_cine([counted(m) for m in images])
    reads.clear()
    cine.volumes(range(3))
    assert sorted(reads) == list(range(1, 13))
