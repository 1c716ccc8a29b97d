"""Around the workers: whose folder a run's is, when it is done, and what becomes of a failure."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest
from ray.train import ControllerError, WorkerGroupError

from lvray.errors import EnvironmentFault, LvrayError, UseError
from lvray.jobs import fit, train
from lvray.jobs.board import Board
from lvray.jobs.claim import begun_with, belonging, claim
from lvray.jobs.told import told_to_end
from lvray.nets.checkpoint import CHECKSUMS
from tests.jobs.conftest import small


def test_a_folder_belongs_to_one_recipe_and_data_set(tmp_path: Path) -> None:
    run = str(tmp_path)
    assert begun_with(run) is None
    for _ in range(2):
        claim(run, belonging(small("seg"), "abc"))
    claim(run, belonging(small("seg", "saving.keep=7"), "abc"))  # changes no weight
    for recipe, data, named in [(small("seg", "optimiser.lr=0.5"), "abc", "optimiser.lr: 0.003 there, 0.5 now"),
                                (small("seg"), "abd", "data"),
                                (small("reg"), "abc", "network.kind: seg there, reg now")]:
        with pytest.raises(UseError, match="--run belongs to other settings or data") as caught:
            claim(run, belonging(recipe, data))
        assert named in str(caught.value)


def test_a_damaged_run_json_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UseError, match="of the run is damaged"):
        begun_with(str(tmp_path))


def test_a_run_is_done_once_its_history_and_best_checkpoint_stand(tmp_path: Path) -> None:
    assert train.finished(str(tmp_path)) is None
    (tmp_path / train.HISTORY).write_text('[{"epoch": 1, "loss": 0.5}]')
    assert train.finished(str(tmp_path)) is None
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / CHECKSUMS).write_text("{}")
    assert train.finished(f"file://{tmp_path}") == [{"epoch": 1, "loss": 0.5}]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_is_the_environments_fault(number: int) -> None:
    failed = fit.failure(ControllerError(OSError(number, "of the disk", "/data/1234567")))
    assert isinstance(failed, EnvironmentFault)
    assert "1234567" not in str(failed)
    workers = WorkerGroupError(f"Traceback ...\nOSError: [Errno {number}] of the disk", {0: OSError()})
    assert isinstance(fit.failure(workers), EnvironmentFault)


def test_another_failure_of_training_is_lvrays_own() -> None:
    failed = fit.failure(WorkerGroupError("Traceback ...\nRuntimeError: of the network", {0: RuntimeError()}))
    assert type(failed) is LvrayError
    assert str(failed).startswith("training failed (RuntimeError): ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_the_second_one_ends_the_process(number: int) -> None:
    before = signal.getsignal(number)
    with told_to_end() as told:
        os.kill(os.getpid(), number)
        assert told == [number]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_stopped_says_where_and_travels() -> None:
    import pickle

    board = Board()
    board.ask("stop")
    board.saved("stop", (2, 17))
    again = pickle.loads(pickle.dumps(board.fault))
    assert again.exit_code == 143
    assert "after step 17 of epoch 3" in str(again)
