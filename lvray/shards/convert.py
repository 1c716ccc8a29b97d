"""One study to one outcome: a row, or the reason why there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa

from lvray.cmr.archive import Member
from lvray.cmr.ed import end_diastole, off_heart
from lvray.cmr.geometry import canonical
from lvray.cmr.measure import Measurement, measure, overlay_outlines, text_outlines
from lvray.cmr.quality import Flag
from lvray.cmr.study import Cine, read_cine
from lvray.errors import LvrayError, Reason, StudyRefused, internal
from lvray.settings import Tensorize
from lvray.shards.identity import keyed
from lvray.shards.labels import SEXES, Label
from lvray.shards.listing import Source, bare
from lvray.shards.schema import Reject, Row, to_arrow
from lvray.shards.splits import split_of
from lvray.shards.studies import open_study

LABELLED_VISIT = 2
"""UK Biobank's first imaging visit: the one that the manual labels belong to."""


@dataclass(frozen=True)
class Context:
    """What every study of a cohort is converted with. contours: folder of each study's text contours, by its
    name without `.zip`."""

    key: bytes = field(repr=False)
    settings: Tensorize
    labels: Mapping[str, Label] = field(default_factory=dict, repr=False)
    contours: Mapping[str, Path] = field(default_factory=dict, repr=False)


def convert(source: Source, context: Context) -> pa.Table | Reject:
    """A table of one row (schema.SCHEMA), or a Reject. EnvironmentFault: the store, which is no fault of the study."""
    study = keyed(context.key, "study", source.name)
    checksum = None
    try:
        with open_study(source) as members:
            checksum = keyed(context.key, "source", _content(members))
            return to_arrow([_row(source, study, checksum, read_cine(members), context)])
    except StudyRefused as e:
        return Reject(study, source.position, str(e.reason), e.detail, checksum)
    except LvrayError:
        raise
    except Exception as e:  # one odd study must not end a cohort of thousands
        return Reject(study, source.position, str(Reason.INTERNAL), internal(e), checksum)


def _row(source: Source, study: str, checksum: str, cine: Cine, context: Context) -> Row:
    named = source.participant_and_visit()
    person, visit = named if named else (cine.patient or source.name, None)
    labelled = visit in (None, LABELLED_VISIT)
    label = context.labels.get(person) or Label(None, None, None, None)
    participant = keyed(context.key, "participant", person)
    found, origin, flags = _outlines(source, cine, context)
    ed = end_diastole(cine, found.phase if found else None)
    if found and off_heart(found.mask, ed):
        flags.add(Flag.OUTLINES_OFF_HEART)
    usable = found is not None and found.mass_g is not None and Flag.OUTLINES_OFF_HEART not in flags
    turn, seen = canonical(ed.volume.affine), ed.canonical()
    height, weight, sex = cine.person
    manual = label.mass_g if labelled else None
    mass = found.mass_g if found else None
    return Row(
        participant=participant, study=study, source=checksum, visit=visit,
        split=split_of(participant, context.settings.splits),
        image=seen.volume.image, spacing=seen.volume.spacing, affine=seen.volume.affine, heart_yx=seen.centre_yx,
        ed_phase=ed.volume.phase + 1, mask=turn.apply(found.mask) if found and usable else None,
        mask_source=origin if usable else None,
        manual_g=mass if manual is None and origin == "expert" else manual,
        inlinevf_g=mass if origin == "inlinevf" else None,
        sex=label.sex or SEXES.get((sex or "").lower()), height_cm=label.height_cm or height,
        weight_kg=label.weight_kg or weight,
        flags=tuple(sorted({*cine.flags, *ed.flags, *flags, *(found.flags if found else ())})))


def _outlines(source: Source, cine: Cine,
              context: Context) -> tuple[Measurement | None, Literal["inlinevf", "expert"] | None, set[Flag]]:
    """The study's outlines: an expert's where they are linked, else the overlays.

    An expert's that do not fit refuse the study; overlays that do not are left out, with a flag: images and labels
    are still good.
    """
    folder = context.contours.get(bare(source.name))
    if folder is not None:
        return measure(cine, text_outlines(cine, folder)), "expert", set()
    if not cine.outlined:
        return None, None, {Flag.OUTLINES_ABSENT}
    try:
        return measure(cine, overlay_outlines(cine, context.settings.mask_rule)), "inlinevf", set()
    except StudyRefused as e:
        return None, None, {Flag.OUTLINES_ABSENT if e.reason == Reason.NO_OUTLINES else Flag.OUTLINES_REFUSED}


def _content(members: Sequence[Member]) -> str:
    """sha256 over the files' contents, whatever their names and order."""
    digests = []
    for member in members:
        with member.open() as file:
            digests.append(hashlib.sha256(file.read()).digest())
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()
