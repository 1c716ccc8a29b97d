"""The forms that an answer can have, by media type. Another one is a function here, and the service offers it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lvray.errors import StudyRefused
from lvray.estimate import Estimate
from lvray.serving.picture import picture
from lvray.serving.problems import Problem
from lvray.serving.reading import Study

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


def as_json(answer: Answer) -> bytes:
    """What `lvray predict --json` says; of several networks, that for each."""
    plain = {kind: _plain(one) for kind, one in answer.found.items()}
    document: dict[str, Any] = plain if len(plain) > 1 else next(iter(plain.values()))
    if answer.view:
        document = {**document, "view": picture(answer.study.view, answer.best.mask)}
    return json.dumps(document, allow_nan=False).encode()


JSON = "application/json"
FORMS: dict[str, Callable[[Answer], bytes]] = {JSON: as_json}
"""The first is what a client gets who does not care. StudyRefused: an estimate that has no such form."""


def wanted(accept: str | None) -> str:
    """The media type that an Accept header (RFC 9110, 12.5.1) likes best. Problem: 406."""
    liked: list[tuple[float, str]] = []
    for part in (accept or "*/*").split(","):
        name, *parameters = (text.strip().lower() for text in part.split(";"))
        weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        liked.append((_number(weight), name))
    for worth, name in sorted(liked, key=lambda pair: -pair[0]):
        for kind in FORMS:
            if worth > 0 and name in ("*/*", kind, kind.partition("/")[0] + "/*"):
                return kind
    raise Problem(406, f"answers come as {', '.join(FORMS)}")


def _plain(one: Estimate | StudyRefused) -> dict[str, Any]:
    return one.to_dict() if isinstance(one, Estimate) else {"refused": str(one.reason), "detail": one.detail}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
