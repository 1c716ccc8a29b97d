"""Named settings, and how a command changes one. `paper_*`: the article; `zoo_seg`: the authors' released run;
`fast_*`: the best accuracy for the time; `own_*`: of the weights that come with lvray; `smoke_*`: for tests and the
demo."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from lvray.errors import UseError
from lvray.settings import Network, Optimiser, Recipe, Settings, Step, Stream, Target

T = TypeVar("T", bound=Settings)

ALIKE = 0.6
"""Likeness, 0 to 1, from which on a name may have been meant."""
SMOKE_STEP = Step(precision="fp32", channels_last=True, compile=False)
"""Measured nowhere: the same bytes on every machine of a kind."""
BESIDE_HEART = (13, 128, 128)


def paper_reg() -> Recipe:
    """ML4Hreg as the article has it, for comparison with its figures.

    Decay and length are not published: 0.98 and 100 epochs are a beginning for a search.
    """
    return Recipe(name="paper_reg", network=Network(kind="reg"), optimiser=Optimiser(gamma=0.98), epochs=100)


def paper_seg() -> Recipe:
    """ML4Hseg as the article has it, for comparison with its figures. Decay and length: as in paper_reg."""
    return Recipe(name="paper_seg", network=Network(kind="seg"), optimiser=Optimiser(gamma=0.98), epochs=100)


def zoo_seg() -> Recipe:
    """ML4Hseg as the authors' released run trained it, for comparison with their weights.

    An epoch there was 128 steps of a batch of 2, here it is the whole training set: plateau (48), patience (144) and
    epochs (368) count epochs, so that with more than 256 training studies all three come later than they did there.
    """
    return Recipe(name="zoo_seg", network=Network(kind="seg", pixel_size=False),
                  optimiser=Optimiser(name="radam", lr=2e-4, plateau=48),
                  stream=Stream(batch=2, lanes=2), epochs=368, patience=144)


def fast_reg() -> Recipe:
    """Grams alone, the best for the time: a box around the heart; sees the pitch beside the pixel size."""
    return Recipe(name="fast_reg", network=Network(kind="reg", pitch=True, box=BESIDE_HEART, centre="heart"),
                  optimiser=Optimiser(lr=1e-3, gamma=0.97, clip=1.0), epochs=60, patience=20, augment=True)


def fast_seg() -> Recipe:
    """Contours and grams, the best for the time: a box around the heart, a quarter of the article's pixels."""
    return Recipe(name="fast_seg", network=Network(kind="seg", box=BESIDE_HEART, centre="heart"),
                  optimiser=Optimiser(lr=1e-3, gamma=0.97, clip=1.0), epochs=60, patience=20, augment=True)


def own_seg() -> Recipe:
    """What lvray's own weights are trained with, on generated hearts: one pixel size for all, any turn and mirror."""
    return Recipe(name="own_seg", network=Network(kind="seg", width=16, pixel_size=False, box=(13, 88, 88),
                                                  pixel_mm=1.8, centre="heart", views=4),
                  optimiser=Optimiser(lr=2e-3, gamma=0.78, clip=1.0),
                  step=Step(precision="bf16", channels_last=True, compile=False), epochs=10, augment=True,
                  any_turn=True, threads=2)


def smoke_reg() -> Recipe:
    """The demo's regressor, for tests and a first look: narrow, small boxes around the heart, weights for show."""
    return Recipe(name="smoke_reg", network=Network(kind="reg", width=8, box=(12, 64, 64), centre="heart"),
                  optimiser=Optimiser(lr=1e-3, gamma=0.95), step=SMOKE_STEP, epochs=40, validate_epochs=4,
                  augment=True, for_show=True)


def smoke_seg() -> Recipe:
    """The demo's segmenter, for tests and a first look: narrow, small boxes around the heart, weights for show."""
    return Recipe(name="smoke_seg", network=Network(kind="seg", width=12, box=(8, 64, 64), centre="heart"),
                  optimiser=Optimiser(lr=2e-3, gamma=0.95, clip=1.0), step=SMOKE_STEP, epochs=40, validate_epochs=4,
                  augment=True, for_show=True)


ALL: dict[str, Callable[[], Recipe]] = {
    f.__name__: f for f in (paper_reg, paper_seg, zoo_seg, fast_reg, fast_seg, own_seg, smoke_reg, smoke_seg)}


def described() -> dict[str, str]:
    """Each recipe's name and what it is."""
    return {name: (make.__doc__ or "").partition("\n")[0] for name, make in ALL.items()}


def named(name: str) -> Recipe:
    """The recipe of that name, or one in a JSON file. UseError: none, with the near names, or a file that is none."""
    if name in ALL:
        return ALL[name]()
    if name.endswith(".json"):
        try:
            plain = json.loads(Path(name).read_text())
        except (OSError, ValueError) as e:
            raise UseError("the recipe file cannot be read as JSON") from e
        return _valid(Recipe, plain)
    raise UseError(f"no recipe of that name; there are: {', '.join(ALL)}, or a JSON file{_hint(name, ALL)}")


def override(settings: T, assignments: Sequence[str]) -> T:
    """The settings with `name=value` applied, dots for nested names. UseError: an unknown name or a bad value."""
    plain = settings.model_dump(mode="json")
    names = list(_names(type(settings)))
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise UseError(f"--set {name}: name=value is wanted")
        if name not in names:
            inside = [full for full in names if full.startswith(f"{name}.")]
            raise UseError(f"--set {name}: a group of settings: set one of {', '.join(inside)}" if inside else
                           f"--set {name}: no such setting{_hint(name, names)}")
        *parents, last = name.split(".")
        holder = plain
        for parent in parents:
            holder = holder[parent]
        holder[last] = _parsed(value)
    return _valid(type(settings), plain)


def flat(settings: Settings) -> dict[str, Any]:
    """Every setting by the name that `override` knows it by."""
    plain = settings.model_dump(mode="json")
    found = {}
    for name in _names(type(settings)):
        value = plain
        for part in name.split("."):
            value = value[part]
        found[name] = value
    return found


def check_workers(recipe: Recipe, most: int) -> None:
    """UseError where workers outnumber the lanes, with the settings that would employ them."""
    if most > recipe.stream.lanes:
        batch = math.ceil(recipe.stream.batch / most) * most
        raise UseError(f"{most} workers need at least as many lanes, not {recipe.stream.lanes}: use fewer, or"
                       f" --set stream.lanes={most} --set stream.batch={batch}, which is another recipe, with its own"
                       " learning rate")


def without_effect(recipe: Recipe, assignments: Sequence[str], *, workers: int = 1,
                   validation_rows: int | None = None) -> list[str]:
    """A line for each setting set by hand that changes nothing in a run of the recipe that they made; and for a pitch
    that pixel_size, set by hand, has shut out.

    workers: the fewest that run; validation_rows: those that the recipe can use; None: not known, and what depends on
    it is not judged.
    """
    names = [assignment.partition("=")[0] for assignment in assignments]
    judged = dict.fromkeys([*names, *(["network.pitch"] if "network.pixel_size" in names else [])])
    idle = dict(_idle(recipe, workers, validation_rows))
    return ([f"{name} is set more than once: the last value counts" for name in judged if names.count(name) > 1]
            + [f"{name} has no effect: {idle[name]}" for name in judged if name in idle])


def _idle(recipe: Recipe, workers: int, validation_rows: int | None) -> Iterator[tuple[str, str]]:
    """Settings that change nothing, each with why; only some of those on whose value that depends are looked at."""
    network, optimiser, stream, every = recipe.network, recipe.optimiser, recipe.stream, recipe.validate_epochs
    if network.kind == "seg":
        yield from ((f"target.{name}", "a segmenter is trained on masks alone") for name in Target.model_fields)
    if network.pitch and not network.pixel_size:
        yield "network.pitch", "the pitch goes in with the pixel size, and network.pixel_size is false"
    if recipe.epochs == 1:
        yield "optimiser.gamma", "the rate decays from the second epoch on, and there is one"
    if every > recipe.epochs:
        yield "validate_epochs", f"the last of {recipe.epochs} epochs is always validated, and it comes first"
    longest = (math.ceil(recipe.epochs / every) - 2) * every
    for name, span in (("patience", recipe.patience), ("optimiser.plateau", optimiser.plateau)):
        if span is not None and validation_rows == 0:
            yield name, "the data set has no study to validate on"
        elif span is not None and span > longest:
            yield name, f"a run of {recipe.epochs} epochs, validated each {every}, ends before it counts"
    if optimiser.plateau is not None and recipe.patience is not None and optimiser.plateau >= recipe.patience:
        yield "optimiser.plateau", f"patience={recipe.patience} ends the run before"
    share = math.ceil(stream.lanes / workers) * (stream.batch // stream.lanes)
    if recipe.step.accumulate > share:
        yield "step.accumulate", f"beyond {share}, the rows of a batch that a worker has"


def _valid(kind: type[T], plain: Any) -> T:
    try:
        return kind.model_validate(plain)
    except ValidationError as e:
        names = list(_names(kind))
        errors = [(_where(error["loc"], names), error) for error in e.errors()]
        where, first = errors[0]
        if first["type"] == "extra_forbidden":
            raise UseError(f"{where}: no such setting{_hint(where, names)}") from e
        says = dict.fromkeys(error["msg"].removeprefix("Value error, ") for at, error in errors if at == where)
        raise UseError(f"{where or 'settings'}: {', or '.join(says)}") from e


def _where(location: Sequence[str | int], names: Sequence[str]) -> str:
    """A setting's name from pydantic's location, which tells the branches of a union apart by one part more."""
    parts = [str(part) for part in location]
    return ".".join(parts[:-1] if ".".join(parts[:-1]) in names and isinstance(location[-1], str) else parts)


def _hint(name: str, names: Iterable[str]) -> str:
    """"; did you mean optimiser.lr?", by the whole name or its last part; nothing where no name is near."""

    def likeness(full: str) -> float:
        pairs = ((name, full), (name.rpartition(".")[2], full.rpartition(".")[2]))
        return max(SequenceMatcher(None, *pair).ratio() for pair in pairs)

    alike = {full: likeness(full) for full in names}
    near = [full for full in sorted(alike, key=lambda full: -alike[full])
            if alike[full] >= max(ALIKE, max(alike.values()) - 0.1)]
    return f"; did you mean {' or '.join(near[:3])}?" if near else ""


def _names(kind: type[Settings], prefix: str = "") -> Iterator[str]:
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Settings):
            yield from _names(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


def _parsed(value: str) -> Any:
    """JSON where it is JSON, a list where commas say so, else text."""
    if "," in value and not value.startswith(("[", "{")):
        return [_parsed(part) for part in value.split(",")]
    try:
        return json.loads(value)
    except ValueError:
        return value
