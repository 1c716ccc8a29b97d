"""A page that needs nothing beside it: templates of this folder, pictures inline, no script, no font, no network."""

from __future__ import annotations

import base64
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """A template of this folder, filled in. All text is escaped. `| each(f)`: f of each. Same values, same page."""
    environment = Environment(loader=FunctionLoader(_template), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.filters["each"] = lambda values, function: [function(value) for value in values]
    return environment.get_template(template).render(values)


def _template(name: str) -> str:
    return files("lvray.evidence").joinpath(name).read_text("utf-8")


def inline(png: bytes) -> str:
    """A picture as the source of an <img>."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
