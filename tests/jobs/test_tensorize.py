"""The job's own decisions, without Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvray.errors import UseError
from lvray.jobs import tensorize


@pytest.mark.parametrize("given", [{"folder": Path("contours"), "link": None},
                                   {"folder": None, "link": Path("link.csv")}])
def test_contours_and_link_go_together(given: dict[str, Path | None]) -> None:
    with pytest.raises(UseError, match="go together"):
        tensorize._contours(**given, studies=[])
