"""Small numbers of people hidden, as biobanks ask of what is published: a count of 1 to 4 tells of individuals.

Where one count of a group of figures is that small, its other counts and all that follows from them would give it away,
and are hidden too. What differs between tables (people of whom one method has an estimate and another has not) is the
publisher's to look at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from lvray.evidence.conformal import Coverage, Intervals

FEWEST = 5
FEW, HIDDEN = f"<{FEWEST}", "hidden"
T = TypeVar("T")


def hide(value: T) -> T:
    """The same dataclass, however deep: FEW for every count of 1 to 4, HIDDEN for the counts beside it, None for the
    figures beside it."""
    return _hidden(value)  # type: ignore[no-any-return]


def _hidden(value: Any) -> Any:
    if isinstance(value, Intervals):  # the widths are no figures of so many people, but the checkpoint's
        return replace(value, n=_veiled(value.n) if _few([value.n]) else value.n, n_by_sex=_hidden(value.n_by_sex),
                       centering=_hidden(value.centering))
    if is_dataclass(value) and not isinstance(value, type):
        own = {field.name: getattr(value, field.name) for field in fields(value)}
        if _tells(value, own.values()):
            return replace(value, **{name: _veiled(of) for name, of in own.items()})
        return replace(value, **{name: _hidden(of) for name, of in own.items()})
    if isinstance(value, Mapping):
        tells = _few(value.values())
        return {name: _veiled(of) if tells else _hidden(of) for name, of in value.items()}
    if isinstance(value, tuple | list):
        return tuple(map(_hidden, value))
    return value


def _tells(value: object, own: Any) -> bool:
    return _few(own) or (isinstance(value, Coverage) and 0 < value.n - value.covered < FEWEST)


def _few(values: Any) -> bool:
    return any(isinstance(v, int) and not isinstance(v, bool) and 0 < v < FEWEST for v in values)


def _veiled(value: Any) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return FEW if 0 < value < FEWEST else HIDDEN
    return None if isinstance(value, float) else _hidden(value)
