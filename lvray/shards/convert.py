"""One study to one outcome: a row, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from lvray.cmr.ed import EndDiastole, end_diastole, end_systole, off_heart
from lvray.cmr.geometry import Turn, canonical
from lvray.cmr.measure import Measurement, measure, overlay_outlines, text_outlines
from lvray.cmr.quality import Flag
from lvray.cmr.study import Cine, read_cine
from lvray.errors import EnvironmentFault, LvrayError, Reason, StudyRefused, internal
from lvray.settings import Tensorize
from lvray.shards.given import Given
from lvray.shards.identity import keyed
from lvray.shards.labels import HEIGHT_RANGE_CM, SEXES, WEIGHT_RANGE_KG, Label
from lvray.shards.listing import Source, bare
from lvray.shards.schema import Reject, Row, to_arrow
from lvray.shards.splits import split_of
from lvray.shards.studies import open_study

LABELLED_VISIT = 2
"""UK Biobank's first imaging visit: the one that the manual labels belong to."""
UNKNOWN = Label(None, None, None, None)


@dataclass(frozen=True)
class Context:
    """What every study of a cohort is converted with."""

    key: bytes = field(repr=False)
    settings: Tensorize
    given: Given = field(default_factory=Given, repr=False)


@dataclass(frozen=True)
class Outlined:
    """A study's outlines: what they measure, whose they are, and what is wrong about them."""

    found: Measurement | None
    origin: Literal["inlinevf", "expert"] | None
    flags: frozenset[Flag]


def convert(source: Source, context: Context) -> pa.Table | Reject:
    """A table of one row (schema.SCHEMA), or a Reject. EnvironmentFault: the store, which is no fault of the study."""
    checksum = None
    try:
        with open_study(source) as study:
            checksum = keyed(context.key, "source", study.sha256())
            return to_arrow([_row(source, checksum, read_cine(study.members, context.settings.quality), context)])
    except StudyRefused as e:
        return reject(source, context, e.reason, e.detail, checksum)
    except EnvironmentFault as e:
        if not isinstance(e.__cause__, (FileNotFoundError, PermissionError)):
            raise
        return reject(source, context, Reason.UNREADABLE_FILE, "it is not there, or may not be read", checksum)
    except LvrayError:
        raise
    except MemoryError:
        return reject(source, context, Reason.TOO_LARGE, "reading it takes absurdly much memory; is a file damaged?",
                      checksum)
    except Exception as e:  # one odd study must not end a cohort of thousands
        return reject(source, context, Reason.INTERNAL, internal(e), checksum)


def reject(source: Source, context: Context, reason: Reason, detail: str, checksum: str | None) -> Reject:
    return Reject(keyed(context.key, "study", source.name), source.position, str(reason), detail, checksum,
                  context.given.digest(context.key, source.name, None))


def _row(source: Source, checksum: str, cine: Cine, context: Context) -> Row:
    named = source.participant_and_visit()
    person, visit = named if named else (cine.patient or source.name, None)
    participant = keyed(context.key, "participant", person)
    label = context.given.labels.get(participant, UNKNOWN)
    manual = label.mass_g if visit in (None, LABELLED_VISIT) else None
    outlined = _outlines(source, cine, context)
    found, quality = outlined.found, context.settings.quality
    ed = end_diastole(cine, found.phase if found else None, quality)
    flags = set(outlined.flags)
    if found and off_heart(found.mask, ed, quality):
        flags.add(Flag.OUTLINES_OFF_HEART)
    if found and found.phase != 0 and cine.first_phase_is_ed:
        flags.add(Flag.ED_DOUBTFUL)
    trusted = found if found and found.mass_g is not None and Flag.OUTLINES_OFF_HEART not in flags else None
    turn, seen = canonical(ed.volume.affine), ed.canonical()
    height, weight, sex = cine.person
    mass = found.mass_g if found else None
    return Row(
        participant=participant, study=keyed(context.key, "study", source.name), source=checksum,
        given=context.given.digest(context.key, source.name, participant), visit=visit,
        split=context.given.splits.get(participant) or split_of(participant, context.settings.splits),
        spacing=seen.volume.spacing, affine=seen.volume.affine, heart_yx=seen.centre_yx,
        ed_phase=ed.volume.phase + 1, mask=turn.apply(trusted.mask) if trusted else None,
        mask_source=outlined.origin if trusted else None,
        manual_g=trusted.mass_g if manual is None and trusted and outlined.origin == "expert" else manual,
        inlinevf_g=mass if outlined.origin == "inlinevf" else None,
        sex=label.sex or SEXES.get((sex or "").lower()),
        height_cm=label.height_cm or _within(height, HEIGHT_RANGE_CM),
        weight_kg=label.weight_kg or _within(weight, WEIGHT_RANGE_KG),
        flags=tuple(sorted({*cine.flags, *ed.flags, *flags, *(found.flags if found else ())})),
        **{"image": seen.volume.image, **_beyond_ed(cine, ed, trusted, turn, context.settings.phases)})


def _within(value: float | None, limits: tuple[float, float]) -> float | None:
    """None for what nobody is, such as a height in another unit."""
    return value if value is not None and limits[0] < value < limits[1] else None


def _beyond_ed(cine: Cine, ed: EndDiastole, trusted: Measurement | None, turn: Turn,
               phases: Literal["ed", "ed,es", "all"]) -> dict[str, Any]:
    """The columns of a row that hold other phases than ED; `image` too, where theirs are of a wider type."""
    if phases == "ed":
        return {}
    es = end_systole(cine, ed, trusted)
    wanted = [es] if phases == "ed,es" else range(cine.phases)
    kept = [p for p in wanted if p is not None and p != ed.volume.phase and cine.complete(p)]
    if not kept:
        return {"es_phase": None if es is None else es + 1}
    *others, image = np.stack([turn.apply(v.image) for v in (*cine.volumes(kept).values(), ed.volume)])
    outlined = [p for p in kept if trusted and p in trusted.masks]
    return {"image": image, "es_phase": None if es is None else es + 1, "other_phases": tuple(p + 1 for p in kept),
            "others": np.stack(others), "other_mask_phases": tuple(p + 1 for p in outlined),
            "other_masks": np.stack([turn.apply(trusted.masks[p]) for p in outlined]) if trusted and outlined else None}


def _outlines(source: Source, cine: Cine, context: Context) -> Outlined:
    """The study's outlines: an expert's where they are linked, else the overlays.

    An expert's that do not fit refuse the study; overlays that do not are left out, with a flag: images and labels
    are still good.
    """
    settings = context.settings
    linked = context.given.contours.get(bare(source.name))
    if linked is not None:
        return Outlined(measure(cine, text_outlines(cine, linked[0]), settings.quality), "expert", frozenset())
    if not cine.outlined:
        return Outlined(None, None, frozenset({Flag.OUTLINES_ABSENT}))
    try:
        found = measure(cine, overlay_outlines(cine, settings.mask_rule), settings.quality)
    except StudyRefused as e:
        absent = e.reason == Reason.NO_OUTLINES
        return Outlined(None, None, frozenset({Flag.OUTLINES_ABSENT if absent else Flag.OUTLINES_REFUSED}))
    return Outlined(found, "inlinevf", frozenset())
