"""What a search varies: settings by their names, each with a range or a list of values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from lvray import recipes
from lvray.errors import UseError
from lvray.settings import Recipe, Settings

Value = bool | int | float | str | list[Any] | None
EVERY = 64
"""Integers of a range that are all tried before a search begins; of more, the ends."""


class Range(Settings):
    """Numbers from low to high, both allowed; log: evenly by their logarithm; integers where both ends are."""

    model_config = ConfigDict(strict=True)

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g}: a logarithm wants a number above 0")
        return self

    def distribution(self) -> BaseDistribution:
        if self._whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(float(self.low), float(self.high), log=self.log)

    def holds(self, value: Value) -> bool:
        return isinstance(value, int if self._whole else int | float) and self.low <= value <= self.high

    def samples(self) -> list[Value]:
        """What a recipe must take for the range to be one of its setting."""
        if self._whole and self.high - self.low < EVERY:
            return list(range(int(self.low), int(self.high) + 1))
        return [self.low, self.high, *([] if self._whole else [self.low + (self.high - self.low) / 3])]

    @staticmethod
    def encoded(value: Value) -> Any:
        """As Optuna has it."""
        return value

    decoded = encoded

    @property
    def _whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)


class Choice(Settings):
    """One of the values."""

    values: Annotated[list[Value], Field(min_length=1)]

    def distribution(self) -> BaseDistribution:
        return CategoricalDistribution([self.encoded(value) for value in self.values])

    def holds(self, value: Value) -> bool:
        return value in self.values

    def samples(self) -> list[Value]:
        return self.values

    @staticmethod
    def encoded(value: Value) -> Any:
        """Optuna wants plain values, and a setting may be a list."""
        return json.dumps(value)

    @staticmethod
    def decoded(value: Any) -> Value:
        found: Value = json.loads(value)
        return found


Space = Mapping[str, Range | Choice]
DEFAULT: Space = {"optimiser.gamma": Range(low=0.85, high=1.0, log=True)}
"""The paper's missing figure. 0.85 a tenth of the rate after 14 epochs, 1 no decay at all."""
FIXED = ("name", "for_show", "saving", "stream.seed", "epochs", "patience", "validate_epochs", "network.kind", "target")
"""Not to be searched: they name a run, or trials that differ in them cannot be compared."""


def read(file: Path | None) -> Space:
    """The space of a JSON file, {"optimiser.gamma": {"low": 0.9, "high": 1, "log": true}, "augment": {"values": [true,
    false]}}, or the default. UseError: a file that is none."""
    if file is None:
        return DEFAULT
    try:
        plain = json.loads(file.read_text())
    except OSError as error:
        raise UseError("--space: the file cannot be read") from error
    except ValueError as error:
        raise UseError("--space: the file is no JSON") from error
    if not isinstance(plain, dict) or not plain:
        raise UseError('--space: one object is wanted, as {"optimiser.gamma": {"low": 0.9, "high": 1, "log": true}}')
    return {name: _part(name, value) for name, value in plain.items()}


def check(space: Space, recipe: Recipe, workers: int = 1) -> None:
    """UseError: a name that no setting has, a range with values that the setting refuses, or which leave none of its
    lanes to one of a trial's workers, or one of FIXED."""
    for name, part in space.items():
        if any(name == fixed or name.startswith(f"{fixed}.") for fixed in FIXED):
            raise UseError(f"--space: {name} cannot be searched: trials could not be compared")
        for value in part.samples():
            made = apply(recipe, {name: value})
            recipes.check_workers(made, workers)
            taken = recipes.flat(made)[name]
            if taken != value:
                raise UseError(f"--space: {name}: {json.dumps(value)} would be taken as {json.dumps(taken)}:"
                               " write it so")


def apply(recipe: Recipe, values: Mapping[str, Value]) -> Recipe:
    """The recipe with values of a space. UseError."""
    try:
        return recipes.override(recipe, [f"{name}={json.dumps(value)}" for name, value in values.items()])
    except UseError as error:
        raise UseError(f"--space: {str(error).removeprefix('--set ')}") from error


def _part(name: str, plain: Any) -> Range | Choice:
    kind: Literal["values", "low"] = "values" if isinstance(plain, dict) and "values" in plain else "low"
    adapter: TypeAdapter[Range | Choice] = TypeAdapter(Choice if kind == "values" else Range)
    try:
        return adapter.validate_python(plain)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"][:1]))
        raise UseError(f"--space: {name}{': ' + where if where else ''}:"
                       f" {first['msg'].removeprefix('Value error, ')}") from error
