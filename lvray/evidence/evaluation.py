"""The evaluation: each method against the manual labels of people it never saw, and nobody lost unseen.

Centering and the baseline are fitted on training people; every other figure is of the people evaluated alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lvray.errors import UseError
from lvray.evidence import centering, details
from lvray.evidence.agreement import Agreement, Margin, agreement, margin, predict_the_mean
from lvray.evidence.conformal import Intervals
from lvray.evidence.correlation import compare_correlations
from lvray.evidence.details import Case, Covered, Outcome, Overlapped
from lvray.evidence.hypertrophy import Hypertrophy
from lvray.evidence.outcomes import Odds
from lvray.evidence.paired import Paired, compare
from lvray.evidence.people import Counts, Labelled, Person, estimate, labelled
from lvray.evidence.subgroups import FlagEffect, Subgroup


@dataclass(frozen=True)
class Method:
    """A method, and which of its forms heads the table: centred, or raw. The other form is shown below."""

    name: str
    centred: bool


METHODS = (Method("ML4Hseg", centred=True), Method("ML4Hreg", centred=False), Method("InlineVF", centred=True))
"""The paper's three. The segmenter learns InlineVF's contours, and with them their bias: hence centred."""


@dataclass(frozen=True)
class Row:
    """One form of one method."""

    method: str
    centred: bool
    headline: bool
    agreement: Agreement
    common: Agreement
    """The same on the people of whom every method has an estimate."""
    margin: Margin | None
    """Against predicting the training people's mean, on this row's people; None without training labels."""
    p_reference: float | None
    """P that it correlates with the manual mass as the reference row does, on the people both have (Williams)."""
    p_steiger: float | None
    """The same by Steiger's test."""
    errors: Paired | None
    """How much closer than the reference row it is, on the people both have."""
    lvh: Hypertrophy
    odds: Mapping[str, Odds]
    """Of each outcome, for LVH by this row."""
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
    """Predicting the training people's mean for every labelled person; None without training labels."""
    manual_odds: Mapping[str, Odds]
    """Of each outcome, for LVH by manual mass."""
    subgroups: tuple[Subgroup, ...]
    """Of the reference row, as flag_effects and worst."""
    flag_effects: tuple[FlagEffect, ...]
    worst: tuple[Case, ...]
    overlaps: tuple[Overlapped, ...]
    intervals: tuple[Intervals, ...]
    coverages: tuple[Covered, ...]
    centerings: Mapping[str, centering.Centering]
    training: Counts
    holdout: Counts
    """Of the people evaluated."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: every figure, no individual value."""
        plain = asdict(self)
        for row in plain["rows"]:
            del row["pairs"]
        del plain["worst"]
        return plain


@dataclass(frozen=True)
class _Column:
    """Estimates of one form of one method, by participant."""

    method: str
    centred: bool
    headline: bool
    grams: Mapping[str, float]

    def of(self, people: Sequence[Labelled]) -> tuple[list[float], list[float]]:
        """Estimates and manual masses."""
        return [self.grams[p.participant] for p in people], [p.manual_g for p in people]


def _label(method: str, centred: bool) -> str:
    return f"{method} ({'centred' if centred else 'raw'})"


def evaluate(training: Sequence[Person], holdout: Sequence[Person], methods: Sequence[Method] = METHODS, *,
             intervals: Sequence[Intervals] = (), outcomes: Mapping[str, Outcome] | None = None,
             both_sides: bool = False) -> Evaluation:
    """Evaluate the methods on the holdout, each raw and (where training people allow it) centred.

    intervals: the fitted ones, whose people's are in `Person.intervals_g`. outcomes: by name. both_sides: a participant
    may be in both. UseError where one is all the same, or an estimate is not a finite number. A method without
    estimates, and a figure of too few people, is None, not an error.
    """
    shared = {p.participant for p in training} & {p.participant for p in holdout}
    if shared and not both_sides:
        raise UseError(f"evaluate: {len(shared)} of the participants are both in training and in the holdout,"
                       f" one of them {min(shared)}; split by participant")
    names = [method.name for method in methods]
    train, train_counts = labelled(training, names)
    held, held_counts = labelled(holdout, names)
    centerings = {name: fitted for name in names if (fitted := _centering(train, name)) is not None}
    columns = [c for method in methods for c in _columns(method, held, centerings.get(method.name))]
    columns.sort(key=lambda column: not column.headline)
    reference = next((c for c in columns if c.headline and c.grams), None)
    common = set.intersection(*(set(c.grams) for c in columns if c.grams)) if reference else set()
    train_g = [p.manual_g for p in train]
    known = outcomes or {}
    best = [p for p in held if reference is not None and p.participant in reference.grams]
    by_best, best_name = (reference.grams, reference.method) if reference else ({}, "")
    return Evaluation(
        rows=tuple(_row(column, held, reference, common, train_g, known) for column in columns),
        reference=_label(reference.method, reference.centred) if reference else None,
        baseline=predict_the_mean(train_g, [p.manual_g for p in held]) if train_g else None,
        manual_odds=details.of_outcomes(held, {p.participant: p.manual_g for p in held}, known),
        subgroups=details.by_subgroup(best, by_best),
        flag_effects=details.by_flag(best, by_best, best_name),
        worst=details.worst(best, by_best, best_name),
        overlaps=tuple(o for name in names for o in details.overlapped(held, name)),
        intervals=tuple(intervals),
        coverages=tuple(c for fitted in intervals for c in details.covered(held, fitted)),
        centerings=centerings,
        training=train_counts,
        holdout=held_counts,
    )


def _centering(train: Sequence[Labelled], method: str) -> centering.Centering | None:
    people = [(grams, p.manual_g, p.sex) for p in train if (grams := estimate(p, method)) is not None]
    if not people:
        return None
    estimates, manual, sexes = zip(*people, strict=True)
    return centering.fit(estimates, manual, sexes)


def _columns(method: Method, held: Sequence[Labelled], fitted: centering.Centering | None) -> list[_Column]:
    raw = {p.participant: grams for p in held if (grams := estimate(p, method.name)) is not None}
    if fitted is None:
        return [_Column(method.name, centred=False, headline=True, grams=raw)]
    centred = {p.participant: fitted.apply(raw[p.participant], p.sex) for p in held if p.participant in raw}
    return [
        _Column(method.name, centred=False, headline=not method.centred, grams=raw),
        _Column(method.name, centred=True, headline=method.centred, grams=centred),
    ]


def _row(column: _Column, held: Sequence[Labelled], reference: _Column | None, common: Set[str],
         train_g: Sequence[float], outcomes: Mapping[str, Outcome]) -> Row:
    people = [p for p in held if p.participant in column.grams]
    grams, manual = column.of(people)
    baseline = np.full(len(people), np.mean(train_g)) if train_g else None
    (p_reference, p_steiger), errors = _against(reference, column, people)
    return Row(
        method=column.method,
        centred=column.centred,
        headline=column.headline,
        agreement=agreement(grams, manual),
        common=agreement(*column.of([p for p in people if p.participant in common])),
        margin=None if baseline is None else margin(grams, baseline, manual),
        p_reference=p_reference,
        p_steiger=p_steiger,
        errors=errors,
        lvh=details.of_lvh(people, column.grams),
        odds=details.of_outcomes(people, column.grams, outcomes),
        pairs=tuple(zip(manual, grams, strict=True)),
    )


def _against(reference: _Column | None, column: _Column,
             people: Sequence[Labelled]) -> tuple[tuple[float | None, float | None], Paired | None]:
    """P of equal correlation (Williams, Steiger), and the paired errors, on the people both have."""
    if reference is None or reference.method == column.method:
        return (None, None), None
    both = [p for p in people if p.participant in reference.grams]
    grams, manual = column.of(both)
    theirs, _ = reference.of(both)
    return compare_correlations(grams, theirs, manual), compare(grams, theirs, manual)
