"""What a training worker is given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch

from lvray.jobs import start, state
from lvray.jobs.board import Line, Order
from lvray.jobs.selection import Selection
from lvray.jobs.state import Position, Seen
from lvray.nets.step import Mode
from lvray.settings import Recipe
from lvray.shards.dataset import Dataset
from lvray.shards.order import steps_in
from lvray.shards.stream import Reader


class Link(Protocol):
    """Those who run the workers. The loop calls the first worker's alone, `validated` excepted."""

    def tell(self, lines: list[Line]) -> None: ...

    def asked(self) -> Order:
        """What is wanted of the first worker. Called after every step: it must cost nothing."""
        ...

    def saved(self, order: Order, position: Position) -> None: ...

    def validated(self, entry: Line) -> None: ...


@dataclass(frozen=True)
class Place:
    """A worker among the others."""

    rank: int
    world: int
    device: torch.device
    reader: Reader


@dataclass(frozen=True)
class Job:
    """What a worker is to do. where: URI of the run."""

    recipe: Recipe
    mode: Mode
    dataset: Dataset
    rows: Selection
    where: str
    place: Place
    link: Link

    @cached_property
    def steps(self) -> int:
        """Steps of an epoch."""
        return steps_in(len(self.rows.train), self.recipe.stream.batch)

    @cached_property
    def seen(self) -> Seen:
        """What the weights that the run began with have seen counts, too."""
        data, here = self.dataset.checksum, state.ranges(self.dataset, self.rows.train)
        if self.recipe.start is None:
            return Seen(data, [], here)
        before = start.read(self.where)
        return Seen(data, [*before.earlier, before.data], state.united(here, before.trained_on))
