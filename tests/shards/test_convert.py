"""One odd study never ends a cohort: a failure of lvray's own is a reject that names type and place, and no text."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvray.errors import EnvironmentFault
from lvray.settings import Tensorize
from lvray.shards import convert
from lvray.shards.listing import Source
from lvray.shards.schema import Reject

CONTEXT = convert.Context(b"0123456789abcdef", Tensorize())


def test_an_unforeseen_failure_is_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object) -> None:
        raise RuntimeError("participant 1000011")

    monkeypatch.setattr(convert, "read_cine", broken)
    outcome = convert.convert(Source(3, "folder", str(tmp_path), "1000011"), CONTEXT)
    assert isinstance(outcome, Reject)
    assert (outcome.reason, outcome.position) == ("internal", 3)
    assert "RuntimeError in shards/convert.py, line" in outcome.detail
    assert "1000011" not in outcome.detail


def test_a_store_that_fails_is_not_the_studys_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*given: object) -> None:
        raise EnvironmentFault("the store is gone")

    monkeypatch.setattr(convert, "read_cine", gone)
    with pytest.raises(EnvironmentFault):
        convert.convert(Source(1, "folder", str(tmp_path), "a"), CONTEXT)
