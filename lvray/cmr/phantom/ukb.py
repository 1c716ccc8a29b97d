"""The phantom cohort as UK Biobank would hand it over: one zip a participant, and the tables beside them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

from lvray.cmr.phantom import heart as hearts
from lvray.cmr.phantom.images import images
from lvray.cmr.phantom.participant import participant, volumes
from lvray.cmr.phantom.people import PhantomOptions

COLUMNS = ("row", "application_id", "instance", "sex", "height_cm", "weight_kg", "bsa_m2", "heart_rate", "edv_ml",
           "esv_ml", "sv_ml", "ef", "cardiac_output_l_min", "lv_mass_g")
"""labels.tsv: the application id is column 1, the manual LV mass in grams column 13 (from 0)."""


def write(out: Path, participants: int, seed: int, options: PhantomOptions,
          progress: Callable[[int], None] | None = None) -> None:
    """A whole cohort: `participants` zips, labels.tsv and truth.tsv. progress is told the number done."""
    out.mkdir(parents=True, exist_ok=True)
    for number in range(participants):
        write_participant(out, seed, number, options)
        if progress is not None:
            progress(number + 1)
    write_tables(out, participants, seed, options)


def write_participant(out: Path, seed: int, number: int, options: PhantomOptions) -> Path:
    """`{eid}_20209_2_0.zip` of one participant: the same bytes for the same seed, number and options."""
    subject = participant(seed, number, options)
    path = out / f"{subject.person.eid}_20209_2_0.zip"
    rows = ["filename,patientid,date,series discription,instancenumber"]
    with zipfile.ZipFile(path, "w") as archive:
        for description, instance, uid, data in images(subject):
            _add(archive, f"{uid}.dcm", data)
            rows.append(f"{uid}.dcm,{subject.person.eid},{subject.person.visit:%b %d, %Y},{description},{instance}")
        _add(archive, "manifest.cvs", "\n".join(rows) + "\n")
    return path


def write_tables(out: Path, participants: int, seed: int, options: PhantomOptions) -> None:
    """labels.tsv (COLUMNS; volumes are true, the mass is a human reader's) and truth.tsv, for tests and benches."""
    labels, known = ["\t".join(COLUMNS)], ["eid\tmass_g\tedv_ml\tesv_ml\tinlinevf"]
    for number in range(participants):
        subject = participant(seed, number, options)
        who, (edv, esv) = subject.person, volumes(subject)
        area = 0.007184 * who.height_cm**0.725 * who.weight_kg**0.425
        labels.append(f"{number}\t{who.eid}\t2\t{who.sex}\t{who.height_cm:.1f}\t{who.weight_kg:.1f}\t{area:.3f}\t"
                      f"{who.heart_rate}\t{edv:.1f}\t{esv:.1f}\t{edv - esv:.1f}\t{100 * (1 - esv / edv):.1f}\t"
                      f"{(edv - esv) * who.heart_rate / 1000:.2f}\t{who.manual_g:.2f}")
        known.append(f"{who.eid}\t{hearts.mass_g(subject.heart):.3f}\t{edv:.2f}\t{esv:.2f}\t{who.inlinevf}")
    (out / "labels.tsv").write_text("\n".join(labels) + "\n")
    (out / "truth.tsv").write_text("\n".join(known) + "\n")


def _add(archive: zipfile.ZipFile, name: str, data: bytes | str) -> None:
    """Deflated, as UK Biobank's members are, and without the time of day."""
    archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED, compresslevel=1)
