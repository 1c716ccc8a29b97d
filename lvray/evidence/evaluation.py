"""The evaluation: each method against the manual labels of people it never saw, and nobody lost unseen.

Centering and the baseline are fitted on training people; every other figure is of holdout people alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lvray.errors import UseError
from lvray.evidence import centering, indices
from lvray.evidence.agreement import Agreement, Margin, agreement, margin, predict_the_mean
from lvray.evidence.correlation import compare_correlations

MANUAL_G = (0.0, 500.0)
"""The open interval that a manual mass must lie in (method.md)."""


@dataclass(frozen=True)
class Person:
    """One study of one participant, as the evaluation needs it. Masses in grams; None is unknown."""

    participant: str
    """The keyed hash."""
    manual_g: float | None
    estimates_g: Mapping[str, float | None]
    """Raw estimates by the method's name; a name left out is an estimate that does not exist."""
    sex: str | None = None
    """"male" or "female"."""
    height_cm: float | None = None
    weight_kg: float | None = None


@dataclass(frozen=True)
class Method:
    """A method, and which of its forms heads the table: centred, or raw. The other form is shown below."""

    name: str
    centred: bool


METHODS = (Method("ML4Hseg", centred=True), Method("ML4Hreg", centred=False), Method("InlineVF", centred=True))
"""The paper's three. The segmenter learns InlineVF's contours, and with them their bias: hence centred."""


@dataclass(frozen=True)
class Counts:
    """Where the rows of one side went: rows = repeats + unlabelled + out_of_range + labelled."""

    rows: int
    repeats: int
    """Further studies of a participant already counted: the first one given is used."""
    unlabelled: int
    out_of_range: int
    """A manual mass that is not between 0 and 500 g."""
    labelled: int
    estimated: Mapping[str, int]
    """Labelled people that each method has an estimate of."""


@dataclass(frozen=True)
class Lvh:
    """LV hypertrophy by manual mass and by estimate: people in each cell, among those of known sex and size."""

    both: int
    manual_only: int
    estimate_only: int
    neither: int


@dataclass(frozen=True)
class Row:
    """One form of one method on the holdout."""

    method: str
    centred: bool
    headline: bool
    agreement: Agreement
    common: Agreement
    """The same on the people of whom every method has an estimate."""
    margin: Margin | None
    """Against predicting the training people's mean, on this row's people; None without training labels."""
    p_reference: float | None
    """P that it correlates with the manual mass as the reference row does, on the people both have."""
    lvh: Lvh
    pairs: tuple[tuple[float, float], ...]
    """(manual, estimate) of each person: individual values, for the pictures only."""

    @property
    def label(self) -> str:
        return _label(self.method, self.centred)


@dataclass(frozen=True)
class Evaluation:
    """All rows, the headline ones first, and what they rest on."""

    rows: tuple[Row, ...]
    reference: str | None
    """Label of the row that P compares with: the first headline row that has people."""
    baseline: Agreement | None
    """Predicting the training people's mean for every labelled holdout person; None without training labels."""
    centerings: Mapping[str, centering.Centering]
    training: Counts
    holdout: Counts

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: every figure, no individual value."""
        plain = asdict(self)
        for row in plain["rows"]:
            del row["pairs"]
        return plain


@dataclass(frozen=True)
class _Column:
    """Estimates of one form of one method, by participant."""

    method: str
    centred: bool
    headline: bool
    grams: Mapping[str, float]


def _label(method: str, centred: bool) -> str:
    return f"{method} ({'centred' if centred else 'raw'})"


def evaluate(training: Sequence[Person], holdout: Sequence[Person], methods: Sequence[Method] = METHODS) -> Evaluation:
    """Evaluate the methods on the holdout, each raw and (where training people allow it) centred.

    UseError where a participant is on both sides, or an estimate is not a finite number. A method without
    estimates, and a figure of too few people, is None, not an error.
    """
    shared = {p.participant for p in training} & {p.participant for p in holdout}
    if shared:
        raise UseError(f"evaluate: {len(shared)} of the participants are both in training and in the holdout,"
                       f" one of them {min(shared)}; split by participant")
    names = [method.name for method in methods]
    train, train_counts = _labelled(training, names)
    held, held_counts = _labelled(holdout, names)
    centerings = {name: fitted for name in names if (fitted := _centering(train, name)) is not None}
    columns = [c for method in methods for c in _columns(method, held, centerings.get(method.name))]
    columns.sort(key=lambda column: not column.headline)
    reference = next((c for c in columns if c.headline and c.grams), None)
    common = set.intersection(*(set(c.grams) for c in columns if c.grams)) if reference else set()
    train_g = [_manual(p) for p in train]
    return Evaluation(
        rows=tuple(_row(column, held, reference, common, train_g) for column in columns),
        reference=_label(reference.method, reference.centred) if reference else None,
        baseline=predict_the_mean(train_g, [_manual(p) for p in held]) if train_g else None,
        centerings=centerings,
        training=train_counts,
        holdout=held_counts,
    )


def _labelled(people: Sequence[Person], methods: Sequence[str]) -> tuple[list[Person], Counts]:
    first: dict[str, Person] = {}
    for person in people:
        first.setdefault(person.participant, person)
    known = [p for p in first.values() if p.manual_g is not None]
    labelled = [p for p in known if MANUAL_G[0] < _manual(p) < MANUAL_G[1]]
    estimated = {name: sum(_estimate(p, name) is not None for p in labelled) for name in methods}
    return labelled, Counts(
        rows=len(people),
        repeats=len(people) - len(first),
        unlabelled=len(first) - len(known),
        out_of_range=len(known) - len(labelled),
        labelled=len(labelled),
        estimated=estimated,
    )


def _manual(person: Person) -> float:
    assert person.manual_g is not None
    return person.manual_g


def _estimate(person: Person, method: str) -> float | None:
    grams = person.estimates_g.get(method)
    if grams is not None and not math.isfinite(grams):
        raise UseError(f"evaluate: the {method} estimate of participant {person.participant} is {grams};"
                       " leave it out where there is none")
    return grams


def _centering(train: Sequence[Person], method: str) -> centering.Centering | None:
    people = [(grams, _manual(p), p.sex) for p in train if (grams := _estimate(p, method)) is not None]
    if not people:
        return None
    estimates, manual, sexes = zip(*people, strict=True)
    return centering.fit(estimates, manual, sexes)


def _columns(method: Method, held: Sequence[Person], fitted: centering.Centering | None) -> list[_Column]:
    raw = {p.participant: grams for p in held if (grams := _estimate(p, method.name)) is not None}
    if fitted is None:
        return [_Column(method.name, centred=False, headline=True, grams=raw)]
    centred = {p.participant: fitted.apply(raw[p.participant], p.sex) for p in held if p.participant in raw}
    return [
        _Column(method.name, centred=False, headline=not method.centred, grams=raw),
        _Column(method.name, centred=True, headline=method.centred, grams=centred),
    ]


def _row(column: _Column, held: Sequence[Person], reference: _Column | None, common: Set[str],
         train_g: Sequence[float]) -> Row:
    people = [p for p in held if p.participant in column.grams]
    grams, manual = _pair(people, column)
    baseline = np.full(len(people), np.mean(train_g)) if train_g else None
    return Row(
        method=column.method,
        centred=column.centred,
        headline=column.headline,
        agreement=agreement(grams, manual),
        common=agreement(*_pair([p for p in people if p.participant in common], column)),
        margin=None if baseline is None else margin(grams, baseline, manual),
        p_reference=_p_against(reference, column, held),
        lvh=_lvh(people, column),
        pairs=tuple(zip(manual, grams, strict=True)),
    )


def _pair(people: Sequence[Person], column: _Column) -> tuple[list[float], list[float]]:
    return [column.grams[p.participant] for p in people], [_manual(p) for p in people]


def _p_against(reference: _Column | None, column: _Column, held: Sequence[Person]) -> float | None:
    if reference is None or reference.method == column.method:
        return None
    people = [p for p in held if p.participant in column.grams and p.participant in reference.grams]
    grams, manual = _pair(people, column)
    return compare_correlations(grams, _pair(people, reference)[0], manual)


def _lvh(people: Sequence[Person], column: _Column) -> Lvh:
    cells: Counter[tuple[bool, bool]] = Counter()
    for p in people:
        by_manual = indices.lvh(indices.lvmi(_manual(p), p.height_cm, p.weight_kg), p.sex)
        by_estimate = indices.lvh(indices.lvmi(column.grams[p.participant], p.height_cm, p.weight_kg), p.sex)
        if by_manual is not None and by_estimate is not None:
            cells[by_manual, by_estimate] += 1
    return Lvh(cells[True, True], cells[True, False], cells[False, True], cells[False, False])
