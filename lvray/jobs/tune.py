"""The search job: Ray Tune over training runs, Optuna's proposals, early stopping by ASHA (Li et al. 2020).

    <run>/search.json   recipe, space, seed, data, code: what the search belongs to
    <run>/trials/NN/    a training run each (train.py), and how it ended (trial.py)
    <run>/ray/          Ray Tune's own, read by nobody
    <run>/best/         the checkpoint of the best epoch of the best trial
    <run>/recipe.json   the winner's settings: a recipe for `lvray train`
    <run>/tune.png      validations of every trial, scores against what was searched
    <run>/tune.json     every trial and the winner; written last: with it the search is done

The trials are the state of a search: one that was killed asks them how far they are, and goes on.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from pydantic import ValidationError
from ray import tune as ray_tune
from ray.tune import Callback, FailureConfig, RunConfig, Trainable, TuneConfig, Tuner
from ray.tune.execution import class_cache
from ray.tune.schedulers import ASHAScheduler
from ray.tune.stopper import Stopper

from lvray import recipes
from lvray.errors import CheckpointError, LvrayError, UseError
from lvray.evidence.search import Trial as Shown
from lvray.evidence.search import picture
from lvray.jobs import checkpoints, fit, space, train, trial
from lvray.jobs.claim import begun_with, belonging, claim
from lvray.jobs.fit import Workers
from lvray.jobs.space import Space, Value
from lvray.jobs.told import Thread, ended, told_to_end
from lvray.jobs.tpe import Tpe
from lvray.jobs.trial import SUMMARY, End, Plan
from lvray.nets.checkpoint import CHECKSUMS
from lvray.settings import Recipe
from lvray.shards import storage
from lvray.shards.dataset import Dataset
from lvray.shards.patience import patiently

CLAIM, RECIPE, PICTURE = "search.json", "recipe.json", "tune.png"
REDUCTION = 3
"""Of the trials that come as far as a rung, one in three goes on."""
FIRST_RUNG = 9
"""The first rung is at a ninth of the epochs, the next at a third."""
NOTHING: dict[str, float] = {"memory": 1}
"""What a trial reserves beside its workers: Tune wants something, and every CPU counts."""
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN")
"""What Tune would copy from here into its trials' runtime environment, which Ray logs and the dashboard shows. Every
node has its own."""
RETRIES = 3
"""Of a trial whose store or node has gone, from its own checkpoint."""


@dataclass
class Standing:
    """A trial as the search sees it. state: waits, runs, done, stopped, failed; score: the least validation loss."""

    number: int
    values: dict[str, Value]
    state: str = "waits"
    epoch: int = 0
    score: float | None = None


Tell = Callable[[Sequence[Standing]], None]


@dataclass(frozen=True)
class Search:
    """A search that is done. summary: as in tune.json."""

    best: str
    summary: dict[str, Any]


def tune(recipe: Recipe, data: str, run: str, searched: Space, *, trials: int, concurrent: int = 1,
         workers: Workers = (1, 1), seed: int = 0, track: Sequence[str] = (),
         tell: Tell = lambda trials: None) -> Search:
    """Search the space around a recipe; Ray must be running. The same again goes on, or returns at once.

    UseError: see `space.check` and `train.train`; a data set without validation studies; more workers than the cluster
    holds. LvrayError: every trial failed. Stopped, KeyboardInterrupt: as `fit.fit`.
    """
    recipes.check_workers(recipe, workers[1])
    dataset = check(recipe, data, run, searched, seed, workers[1])
    fit.check_room(workers, concurrent)
    storage.preflight(run, write=True, what="the run's folder")
    claim(run, {**belonging(recipe, dataset.checksum), **_beside(searched, seed)}, CLAIM)
    run = storage.absolute(run)
    plan = Plan(recipe, dataset.uri, run, workers, concurrent, tuple(track))
    watch = _Watch(run, tell)
    first = {name: recipes.flat(recipe)[name] for name in searched}
    search = Tpe(searched, trials, seed, first, _begun(plan, searched, trials))
    done = _published(run)
    if done is None or len(done["trials"]) < trials:
        _fit(_tuner(plan, search, watch, trials), watch)
        done = _publish(plan, searched, [watch.trials[number] for number in sorted(watch.trials)], seed)
    return Search(storage.join(run, checkpoints.BEST), done)


def check(recipe: Recipe, data: str, run: str, searched: Space, seed: int, workers: int) -> Dataset:
    """The data set of a search that may begin or go on, as far as that is seen without Ray. UseError, EnvironmentFault:
    as `tune`."""
    space.check(searched, recipe, workers)
    dataset, rows = train.check(recipe, data, run, file=CLAIM, more=_beside(searched, seed))
    if not len(rows.validation):
        raise UseError("the data set has no study to validate on: a search compares validations")
    return dataset


def _beside(searched: Space, seed: int) -> dict[str, Any]:
    """What a search belongs to beside recipe, data and code."""
    return {"seed": seed, "space": {name: part.model_dump(mode="json") for name, part in searched.items()}}


def _begun(plan: Plan, searched: Space, trials: int) -> dict[int, dict[str, Value]]:
    """What the trials that have begun were given, by number. UseError: a trial's folder is damaged."""
    found = {}
    for number in range(trials):
        trial.end_of(plan.run, number)
        begun = patiently(partial(begun_with, trial.where(plan.run, number)))
        if begun is None:
            continue
        try:
            settings = recipes.flat(Recipe.model_validate({**begun["recipe"], "saving": plan.recipe.saving}))
        except ValidationError as error:
            raise UseError(f"the settings that trial {number} began with are damaged: give another --run") from error
        found[number] = {name: settings[name] for name in searched}
    return found


def _fit(tuner: Tuner, watch: _Watch) -> None:
    """Search to the end, or leave it where this process is told to, the trials saved."""
    searching = Thread(tuner.fit)
    with told_to_end() as told:
        while searching.is_alive() and not told:
            time.sleep(fit.POLL_SECONDS)
        if told:
            watch.leaving = True
            searching.join(fit.SAVE_SECONDS)
            raise ended(told[0], saved=not searching.is_alive() and searching.error is None)
    if searching.error is not None:
        raise fit.failure(searching.error)


def _tuner(plan: Plan, search: Tpe, watch: _Watch, trials: int) -> Tuner:
    uri = storage.join(plan.run, "ray")
    storage.make_folder(uri, "the run's folder")
    filesystem, path = storage.pyarrow_filesystem(uri)
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(SECRETS)
    first = min(max(1, plan.recipe.epochs // FIRST_RUNG, plan.recipe.validate_epochs), plan.recipe.epochs)
    return Tuner(
        ray_tune.with_resources(ray_tune.with_parameters(_Trial, plan=plan), NOTHING),
        tune_config=TuneConfig(
            metric="score", mode="min", num_samples=trials, max_concurrent_trials=plan.concurrent, search_alg=search,
            scheduler=ASHAScheduler(time_attr="epoch", max_t=plan.recipe.epochs + 1, grace_period=first,
                                    reduction_factor=REDUCTION)),  # it would cut short one that comes to max_t
        run_config=RunConfig(name=f"{time.time_ns():x}", storage_path=path, storage_filesystem=filesystem, verbose=0,
                             callbacks=[watch], stop=watch,
                             failure_config=FailureConfig(max_failures=RETRIES)))


def _published(run: str) -> dict[str, Any] | None:
    """tune.json of a search that is done and whose best checkpoint is still there; a damaged one is made anew."""
    where = [storage.join(run, SUMMARY), storage.join(storage.join(run, checkpoints.BEST), CHECKSUMS)]
    if not all(storage.exists(uri, "the run") for uri in where):
        return None
    try:
        summary: dict[str, Any] = json.loads(storage.read_bytes(where[0], SUMMARY))
    except ValueError:
        return None
    return summary


def _publish(plan: Plan, searched: Space, trials: Sequence[Standing], seed: int) -> dict[str, Any]:
    """The winner, its recipe, the picture, the summary. Only validations with a checkpoint behind them count."""
    histories = {at.number: trial.history(plan.run, at.number) for at in trials}
    scores = {number: trial.score(entries) for number, entries in histories.items() if entries}
    running = [at for at in trials if at.state != "failed" and at.number in scores]
    if not running:
        raise LvrayError(f"all {len(trials)} trials failed, the first so: {_why(plan, trials)}")
    best = min(running, key=lambda at: (scores[at.number], at.number))
    last = checkpoints.latest(trial.where(plan.run, best.number), lambda text: None)
    if last is None:
        raise CheckpointError(f"trial {best.number} is the best, but its checkpoints are missing or damaged: give"
                              " another --run")
    at = last[1].scheduler["best_at"]
    recipe = space.apply(plan.recipe, best.values)
    shown = [Shown(t.number, t.state, t.values, [(e["epoch"], e["validation_loss"]) for e in histories[t.number]])
             for t in trials]
    summary = {
        "recipe": plan.recipe.name, "seed": seed, "space": {n: p.model_dump(mode="json") for n, p in searched.items()},
        "epochs": sum(_epochs(entries) for entries in histories.values()),
        "epochs_of_full_runs": plan.recipe.epochs * len(trials),
        "best": {"trial": best.number, "epoch": checkpoints.position(at)[0], "validation_loss": scores[best.number],
                 "values": best.values},
        "trials": [{"trial": t.number, "state": t.state, "values": t.values,
                    "epochs": _epochs(histories[t.number]), "validation_loss": scores.get(t.number),
                    **({"why": end.why} if (end := trial.end_of(plan.run, t.number)) and end.why else {})}
                   for t in trials]}
    checkpoints.copy(checkpoints.where(trial.where(plan.run, best.number), at),
                     storage.join(plan.run, checkpoints.BEST))
    for name, data in ((RECIPE, json.dumps(recipe.model_dump(mode="json"), indent=1).encode() + b"\n"),
                       (PICTURE, picture(shown, best.number)),
                       (SUMMARY, json.dumps(summary, indent=1).encode() + b"\n")):
        patiently(partial(storage.write_atomic, storage.join(plan.run, name), data, name))
    return summary


def _epochs(entries: Sequence[trial.Entry]) -> int:
    """Epochs."""
    return int(entries[-1]["epoch"]) if entries else 0


def _why(plan: Plan, trials: Sequence[Standing]) -> str:
    end = trial.end_of(plan.run, trials[0].number) if trials else None
    return end.why if end is not None and end.why else "no validation"


class _Trial(Trainable):
    """A trial in an actor of Ray Tune's. It trains on a thread, and is ended in good order: Ray Train's placement group
    of a process that is killed may keep its CPUs for ever."""

    def setup(self, config: dict[str, Any], plan: Plan) -> None:  # type: ignore[override]
        self._told: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._last = {"epoch": 0, "score": math.inf}
        self._stopping = threading.Event()
        self._thread = Thread(partial(trial.run, config["number"], config["values"], plan, self._told.put,
                                      self._stopping.is_set))

    def step(self) -> dict[str, Any]:
        """The next validation, or the end."""
        while self._thread.is_alive() or not self._told.empty():
            with suppress(Empty):
                self._last = self._told.get(timeout=fit.POLL_SECONDS)
                return dict(self._last)
        if self._thread.error is not None:
            raise self._thread.error
        return self._last | {"done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing of Tune's: the run keeps its own, and a trial that begins again looks there."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """See save_checkpoint."""

    def cleanup(self) -> None:
        self._stopping.set()
        self._thread.join(2 * fit.SAVE_SECONDS)


class _Watch(Callback, Stopper):
    """What Ray Tune calls as trials go on: keeps how each stands, writes how each has ended, and has Tune leave all of
    them where it is told to. leaving: they have not ended, then."""

    def __init__(self, run: str, tell: Tell) -> None:
        self.trials: dict[int, Standing] = {}
        self.leaving = False
        self._run, self._tell = run, tell

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps copies of its callbacks, which nobody reads; a terminal has none."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.leaving

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._of(trial).state = "runs"
        self._say()

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any],
                        **info: Any) -> None:
        at = self._of(trial)
        at.epoch, at.score = result["epoch"], result["score"] if math.isfinite(result["score"]) else None
        self._say()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        at = self._of(trial)
        self._end(at, End("stopped", at.epoch))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        at = self._of(trial)
        self._end(at, End("failed", at.epoch, f"lost {RETRIES + 1} times"))

    def _of(self, tried: Any) -> Standing:
        number = tried.config["number"]
        return self.trials.setdefault(number, Standing(number, tried.config["values"]))

    def _end(self, at: Standing, end: End) -> None:
        """A trial that has said itself how it ended is right."""
        if self.leaving:
            return
        trial.close(self._run, at.number, end)
        said = trial.end_of(self._run, at.number)
        assert said is not None
        at.state = said.state
        self._say()

    def _say(self) -> None:
        self._tell([self.trials[number] for number in sorted(self.trials)])
