"""What decides the learning rate and the end of a run."""

from __future__ import annotations

from lvray import recipes
from lvray.jobs.state import Progress
from lvray.settings import Recipe


def after(recipe: Recipe, losses: list[float | None]) -> tuple[Progress, int | None]:
    """Progress after those validations, and which one (from 1) ended the run."""
    progress = Progress()
    for number, loss in enumerate(losses, 1):
        progress.note(recipe, {"epoch": number, **({} if loss is None else {"validation_loss": loss})}, str(number))
        if progress.ended(recipe):
            return progress, number
    return progress, None


def test_patience_counts_epochs_since_the_best() -> None:
    recipe = recipes.override(recipes.smoke_reg(), ["patience=8", "validate_epochs=4"])
    progress, ended = after(recipe, [3.0, 2.0, 2.5, 2.0, 1.0])
    assert (progress.best, progress.best_at, ended) == (2.0, "2", 4)
    assert after(recipes.smoke_reg(), [3.0, 4.0, 5.0])[1] is None


def test_the_rate_halves_on_each_plateau() -> None:
    recipe = recipes.override(recipes.smoke_reg(), ["optimiser.plateau=2", "validate_epochs=1"])
    assert [after(recipe, [1.0] * n)[0].halvings for n in range(1, 7)] == [0, 0, 1, 1, 2, 2]
    assert after(recipe, [1.0, 1.0, 0.9, 0.9])[0].halvings == 0


def test_the_rate_decays_each_epoch() -> None:
    recipe = recipes.override(recipes.smoke_reg(), ["optimiser.lr=0.1", "optimiser.gamma=0.5"])
    assert [Progress(halvings=1).rate(recipe, epoch) for epoch in range(3)] == [0.05, 0.025, 0.0125]


def test_without_validation_the_latest_is_the_best() -> None:
    recipe = recipes.override(recipes.smoke_reg(), ["patience=1", "validate_epochs=1"])
    progress, ended = after(recipe, [None, None, None])
    assert (progress.best, progress.best_at, progress.since_best, ended) == (None, "3", 0, None)
