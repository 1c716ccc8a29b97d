"""Proposes a search's trials to Ray Tune: Optuna's tree-structured Parzen estimator (Bergstra et al. 2011).

A proposal is a function of the seed, the trial's number and the trials that have ended. So the state of a search is
its trials, which are in the run's folder: nothing is unpickled when one goes on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import Trial, TrialState
from ray.tune.search import Searcher

from lvray.jobs.space import Space, Value

STARTUP = 4
"""Trials before the estimator has a say: Optuna's own 10 make a small search a random one."""
SEEDS = 100_003
"""Trials of different searches share no seed unless there are more of them."""

Values = Mapping[str, Value]


class Tpe(Searcher):
    """Proposes {"number": n, "values": {setting: value}} for n = 0, 1, ..., `trials` - 1.

    standing: values of trials that have begun before, by number; first: of trial 0. Lower scores are better.
    """

    def __init__(self, space: Space, trials: int, seed: int, first: Values, standing: Mapping[int, Values]) -> None:
        super().__init__("score", "min")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._distributions = {name: part.distribution() for name, part in space.items()}
        self._space, self._trials, self._seed, self._given = space, trials, seed, {0: first} | dict(standing)
        self._study = optuna.create_study(direction="minimize")
        self._asked: dict[str, Trial | None] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        number = len(self._asked)
        if number >= self._trials:
            return Searcher.FINISHED  # type: ignore[return-value]
        given = self._given.get(number)
        if given is not None and not all(part.holds(given[name]) for name, part in self._space.items()):
            self._asked[trial_id] = None  # a recipe outside of the space: Optuna could make nothing of it
            return {"number": number, "values": dict(given)}
        if given is not None:
            self._study.enqueue_trial({name: part.encoded(given[name]) for name, part in self._space.items()})
        self._study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=STARTUP, seed=(self._seed * SEEDS + number) % 2**32, constant_liar=True)
        trial = self._study.ask(self._distributions)
        self._asked[trial_id] = trial
        proposed = {name: part.decoded(trial.params[name]) for name, part in self._space.items()}
        return {"number": number, "values": dict(given) if given is not None else proposed}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        trial = self._asked[trial_id]
        if trial is None:
            return
        if error or result is None or not math.isfinite(result["score"]):
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, result["score"])

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; nobody reads it."""
        Path(checkpoint_path).touch()
