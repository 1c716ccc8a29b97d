"""The forms that an answer can have, by name and media type. Another one is a line here, and the service offers it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lvray.cmr.nifti import mask_bytes
from lvray.cmr.quality import Flag, words
from lvray.errors import StudyRefused
from lvray.estimate import Estimate
from lvray.serving.picture import picture
from lvray.serving.problems import Problem
from lvray.serving.reading import Study
from lvray.serving.seg import drawn, segmentation
from lvray.serving.sheet import sheet
from lvray.serving.source import dicom_bytes, read_source
from lvray.serving.sr import report

Found = Mapping[str, Estimate | StudyRefused]
"""By kind of network. Of several, one may refuse what another takes."""


@dataclass(frozen=True)
class Answer:
    """study.cine still reads from the zip. view: whether the pictures for the page are wanted too."""

    study: Study
    found: Found
    view: bool = False

    @property
    def best(self) -> Estimate:
        """The segmenter's, which has a mask, else the regressor's. StudyRefused: there is none."""
        estimates = [self.found[kind] for kind in ("seg", "reg") if kind in self.found]
        for one in estimates:
            if isinstance(one, Estimate):
                return one
        refusal = estimates[0]
        assert isinstance(refusal, StudyRefused)
        raise refusal


@dataclass(frozen=True)
class Form:
    """make: StudyRefused where an estimate has no such form."""

    media_type: str
    make: Callable[[Answer], bytes]


def as_json(answer: Answer) -> bytes:
    """What `lvray predict --json` says, and what DICOM made of the study mends; of several networks, that for each."""
    found = {kind: _mended(answer, one) for kind, one in answer.found.items()}
    plain = {kind: _plain(one) for kind, one in found.items()}
    document: dict[str, Any] = plain if len(plain) > 1 else next(iter(plain.values()))
    if answer.view:
        flags = sorted({flag for one in found.values() if isinstance(one, Estimate) for flag in one.quality})
        document = {**document, "view": {**picture(answer.study.view, answer.best.mask),
                                         "words": {flag: words(Flag(flag)) for flag in flags}}}
    return json.dumps(document, allow_nan=False).encode()


def as_seg(answer: Answer) -> bytes:
    return dicom_bytes(segmentation(read_source(answer.study.cine, answer.best), answer.best))


def as_sr(answer: Answer) -> bytes:
    return dicom_bytes(report(read_source(answer.study.cine, answer.best), answer.best))


def as_png(answer: Answer) -> bytes:
    return sheet(answer.study.cine, answer.best)


def as_nifti(answer: Answer) -> bytes:
    return mask_bytes(drawn(answer.best), answer.best.affine)


FORMS = {"json": Form("application/json", as_json), "seg": Form("application/dicom", as_seg),
         "sr": Form("application/dicom", as_sr), "png": Form("image/png", as_png),
         "nifti": Form("application/gzip", as_nifti)}
"""The first that fits is what a client gets who names none: JSON, and of DICOM the segmentation."""


def wanted(accept: str | None) -> str:
    """The form that an Accept header (RFC 9110, 12.5.1) likes best, by its media type or, as in
    application/dicom;form=sr, by its name. Problem: 406."""
    liked: list[tuple[float, str, str | None]] = []
    for part in (accept or "*/*").split(","):
        name, *texts = (text.strip().lower() for text in part.split(";"))
        parameters = dict(text.split("=", 1) for text in texts if "=" in text)
        liked.append((_weight(parameters.get("q", "1")), name, parameters.get("form")))
    never = {name for worth, name, _ in liked if worth <= 0}
    for worth, name, only in sorted(liked, key=lambda one: -one[0]):
        for key, form in FORMS.items():
            names = {"*/*", form.media_type, form.media_type.partition("/")[0] + "/*"}
            if worth > 0 and name in names and form.media_type not in never and only in (None, key):
                return key
    kinds = dict.fromkeys(form.media_type for form in FORMS.values())
    raise Problem(406, f"answers come as {', '.join(kinds)}; or ask by form={'|'.join(FORMS)}")


def _mended(answer: Answer, one: Estimate | StudyRefused) -> Estimate | StudyRefused:
    """An estimate with the flags of its DICOM, of which it may have none."""
    if isinstance(one, StudyRefused):
        return one
    try:
        mends = read_source(answer.study.cine, one).mends
    except StudyRefused:
        return one
    return replace(one, quality=sorted({*one.quality, *mends}))


def _plain(one: Estimate | StudyRefused) -> dict[str, Any]:
    return one.to_dict() if isinstance(one, Estimate) else {"refused": str(one.reason), "detail": one.detail}


def _weight(text: str) -> float:
    """0 to 1; 0 of what is none."""
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0
