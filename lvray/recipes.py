"""Named settings. `paper_*`: the article; `zoo_seg`: the authors' released run; `smoke_*`: for tests and the demo."""

from __future__ import annotations

from collections.abc import Callable

from lvray.errors import UseError
from lvray.settings import Network, Optimiser, Recipe, Stream


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
    return Recipe(name="smoke_reg", network=Network(kind="reg", width=8, box=(12, 64, 64), centre="heart"),
                  optimiser=Optimiser(lr=1e-3, gamma=0.95), epochs=20, augment=True)


def smoke_seg() -> Recipe:
    return Recipe(name="smoke_seg", network=Network(kind="seg", width=12, box=(12, 64, 64), centre="heart"),
                  optimiser=Optimiser(lr=2e-3, gamma=0.97), epochs=20, augment=True)


ALL: dict[str, Callable[[], Recipe]] = {f.__name__: f for f in (paper_reg, paper_seg, zoo_seg, smoke_reg, smoke_seg)}


def named(name: str) -> Recipe:
    """The recipe of that name; UseError lists the names when there is none."""
    if name not in ALL:
        raise UseError(f"no recipe named {name!r}; there are: {', '.join(ALL)}")
    return ALL[name]()
