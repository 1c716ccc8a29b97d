"""Around the workers: whose folder a run's is, when it is done, and who answers Ctrl-C."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

import pytest
from ray.train import ControllerError, WorkerGroupError

from lvray.errors import EnvironmentFault, LvrayError, UseError
from lvray.jobs import train
from lvray.nets.checkpoint import CHECKSUMS


def test_a_folder_belongs_to_one_claim(tmp_path: Path) -> None:
    claim = {"recipe": {"epochs": 3}, "data": "abc", "code": "1"}
    name = train._claim(str(tmp_path), claim)
    assert train._claim(str(tmp_path), claim) == name
    for other in ({"recipe": {"epochs": 4}}, {"data": "abd"}, {"code": "2"}):
        with pytest.raises(UseError, match="--run belongs to another"):
            train._claim(str(tmp_path), claim | other)
    assert train._claim(str(tmp_path / "other"), claim | {"data": "abd"}) != name


def test_a_run_is_done_once_its_history_and_best_checkpoint_stand(tmp_path: Path) -> None:
    assert train._finished(str(tmp_path)) is None
    (tmp_path / train.HISTORY).write_text('[{"epoch": 1, "loss": 0.5}]')
    assert train._finished(str(tmp_path)) is None
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / CHECKSUMS).write_text("{}")
    assert train._finished(f"file://{tmp_path}") == [{"epoch": 1, "loss": 0.5}]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_is_the_environments_fault(number: int) -> None:
    failed = train._failure(ControllerError(OSError(number, "of the disk", "/data/1234567")))
    assert isinstance(failed, EnvironmentFault)
    assert "1234567" not in str(failed)
    workers = WorkerGroupError(f"Traceback ...\nOSError: [Errno {number}] of the disk", {0: OSError()})
    assert isinstance(train._failure(workers), EnvironmentFault)


def test_another_failure_of_training_is_lvrays_own() -> None:
    failed = train._failure(WorkerGroupError("Traceback ...\nRuntimeError: of the network", {0: RuntimeError()}))
    assert type(failed) is LvrayError
    assert str(failed) == "training failed: RuntimeError: of the network"


def test_rays_answer_to_ctrl_c_is_undone() -> None:
    def fit() -> None:
        with train._interruptible():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            raise SystemExit(0)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit()
    assert signal.getsignal(signal.SIGINT) is before
