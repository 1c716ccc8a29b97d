"""Small numbers of people hidden, as biobanks ask of what is published: a count of 1 to 4 tells of individuals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

FEWEST = 5
FEW = f"<{FEWEST}"
T = TypeVar("T")


def hide(value: T) -> T:
    """The same dataclass, however deep, with FEW for every count of 1 to 4; the figures of so few people are None.

    What can be worked out by subtraction from counts that stay is the publisher's to look at.
    """
    return _hidden(value)  # type: ignore[no-any-return]


def _hidden(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        own = {field.name: _hidden(getattr(value, field.name)) for field in fields(value)}
        if own.get("n") == FEW:
            own = {name: None if isinstance(of, float) and name != "level" else of for name, of in own.items()}
        return replace(value, **own)
    if isinstance(value, Mapping):
        return {name: _hidden(of) for name, of in value.items()}
    if isinstance(value, tuple | list):
        return tuple(map(_hidden, value))
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < FEWEST:
        return FEW
    return value
