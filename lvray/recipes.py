"""Named settings. `paper_*`: the article; `zoo_seg`: the authors' released run; `smoke_*`: for tests and the demo."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from lvray.errors import UseError
from lvray.settings import Network, Optimiser, Recipe, Settings, Stream

T = TypeVar("T", bound=Settings)


def paper_reg() -> Recipe:
    """ML4Hreg as published; the decay is unknown, 0.98 a placeholder that `lvray tune` replaces."""
    return Recipe(name="paper_reg", network=Network(kind="reg"), optimiser=Optimiser(gamma=0.98), epochs=100)


def paper_seg() -> Recipe:
    """ML4Hseg as published."""
    return Recipe(name="paper_seg", network=Network(kind="seg"), optimiser=Optimiser(gamma=0.98), epochs=100)


def zoo_seg() -> Recipe:
    """ML4Hseg as the authors' released run trained it; an epoch here is the whole training set, not 128 steps."""
    return Recipe(name="zoo_seg", network=Network(kind="seg", pixel_size=False),
                  optimiser=Optimiser(name="radam", lr=2e-4, plateau=48),
                  stream=Stream(batch=2, lanes=2), epochs=368, patience=144)


def smoke_reg() -> Recipe:
    """The demo's regressor: narrow, on boxes around the heart."""
    return Recipe(name="smoke_reg", network=Network(kind="reg", width=8, box=(12, 64, 64), centre="heart"),
                  optimiser=Optimiser(lr=1e-3, gamma=0.95), epochs=40, validate_epochs=4, augment=True, for_show=True)


def smoke_seg() -> Recipe:
    """The demo's segmenter."""
    return Recipe(name="smoke_seg", network=Network(kind="seg", width=12, box=(8, 64, 64), centre="heart"),
                  optimiser=Optimiser(lr=2e-3, gamma=0.95), epochs=40, validate_epochs=4, augment=True, for_show=True)


ALL: dict[str, Callable[[], Recipe]] = {f.__name__: f for f in (paper_reg, paper_seg, zoo_seg, smoke_reg, smoke_seg)}


def named(name: str) -> Recipe:
    """The recipe of that name, or one in a JSON file. UseError lists the names when there is none."""
    if name in ALL:
        return ALL[name]()
    if name.endswith(".json"):
        try:
            return _valid(Recipe, json.loads(Path(name).read_text()))
        except (OSError, ValueError) as e:
            raise UseError("the recipe file cannot be read as JSON") from e
    raise UseError(f"no recipe named {name!r}; there are: {', '.join(ALL)}")


def override(settings: T, assignments: Sequence[str]) -> T:
    """The settings with `name=value` applied, dots for nested names. UseError: an unknown name or a bad value."""
    plain = settings.model_dump(mode="json")
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        *parents, last = name.split(".")
        holder: Any = plain
        for parent in parents:
            holder = holder.get(parent) if isinstance(holder, dict) else None
        if not equals or not isinstance(holder, dict) or last not in holder:
            raise UseError(f"--set {name}: no such setting{_hint(name, _names(plain))}" if equals else
                           f"--set {name}: name=value is wanted")
        holder[last] = _parsed(value)
    return _valid(type(settings), plain)


def _valid(kind: type[T], plain: Any) -> T:
    try:
        return kind.model_validate(plain)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(map(str, first["loc"])) or "settings"
        raise UseError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from e


def _hint(name: str, names: list[str]) -> str:
    near = ([full for full in names if full.endswith(f".{name}")]
            or difflib.get_close_matches(name, names, n=3, cutoff=0.4))
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _names(plain: dict[str, Any], prefix: str = "") -> list[str]:
    return [name for key, value in plain.items()
            for name in (_names(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key])]


def _parsed(value: str) -> Any:
    """JSON where it is JSON, a list where commas say so, else text."""
    if "," in value and not value.startswith(("[", "{")):
        return [_parsed(part) for part in value.split(",")]
    try:
        return json.loads(value)
    except ValueError:
        return value
