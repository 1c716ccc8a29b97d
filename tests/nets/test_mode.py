"""Which mode is taken, decided without a clock; and that a measurement of the real thing comes to an end."""

from __future__ import annotations

from typing import Any, Never

import pytest
import torch

from lvray.nets import mode as measured
from lvray.nets.build import build
from lvray.nets.mode import choose, fastest, hardware, sample
from lvray.nets.step import Mode, row_losses

BOX = (2, 8, 8)
CPU = torch.device("cpu")
PLAIN, LAST = Mode("fp32", False, False), Mode("fp32", True, False)
BOTH = Mode("bf16", True, False)


def network() -> torch.nn.Module:
    return build("seg", 4, BOX, pixel_size=True)


@pytest.mark.parametrize(("seconds", "taken"), [
    ({PLAIN: 10, LAST: 10, BOTH: 10}, PLAIN),
    ({PLAIN: 10, LAST: 9, BOTH: 9}, PLAIN),  # not clearly: noise may not decide
    ({PLAIN: 10, LAST: 8, BOTH: 7.5}, LAST),
    ({PLAIN: 10, LAST: 8, BOTH: 4}, BOTH),
    ({PLAIN: 10, LAST: 9, BOTH: 8}, BOTH),
    ({PLAIN: float("inf"), LAST: 10, BOTH: float("inf")}, LAST)])
def test_the_plainest_that_no_other_clearly_beats(seconds: dict[Mode, float], taken: Mode) -> None:
    assert fastest([PLAIN, LAST, BOTH], seconds.__getitem__) == taken


def never(*_: object) -> Never:
    raise AssertionError("nothing was to be measured")


def test_what_is_asked_for_is_taken_unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "_seconds", never)
    asked: dict[str, Any] = {"precision": "bf16", "channels_last": False, "compile": True}
    assert choose("seg", never, BOX, 4, CPU, **asked) == Mode(**asked)


@pytest.mark.parametrize(("flags", "asked", "offered"), [
    ("avx2 avx512f", {}, [PLAIN, LAST]),
    ("avx512f avx512_bf16", {}, [PLAIN, LAST, BOTH]),
    ("amx_bf16", {"channels_last": False}, [PLAIN, Mode("bf16", False, False)]),
    ("avx2", {"precision": "bf16"}, [Mode("bf16", False, False), BOTH]),
    ("avx512_bf16", {"precision": "fp32"}, [PLAIN, LAST])])
def test_what_a_cpu_is_offered(flags: str, asked: dict[str, Any], offered: list[Mode],
                               monkeypatch: pytest.MonkeyPatch) -> None:
    """Bf16 where there are units for it, or it was asked for; nothing compiled."""
    seen = set()

    def seconds(kind: str, make: object, batch: object, mode: Mode, device: torch.device) -> float:
        seen.add(mode)
        return 1.0

    monkeypatch.setattr(measured, "_seconds", seconds)
    monkeypatch.setattr(measured, "_cpu", lambda: ("a CPU", frozenset(flags.split())))
    assert choose("seg", network, BOX, 4, CPU, **asked) == offered[0]
    assert seen == set(offered)


def test_a_real_measurement_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(3)
    chosen = choose("seg", network, BOX, 2, CPU, precision="fp32")
    assert (chosen.precision, chosen.compile) == ("fp32", False)
    after = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(4))


def test_what_cannot_be_done_takes_for_ever() -> None:
    def fails() -> torch.nn.Module:
        raise torch.OutOfMemoryError("no room")

    assert measured._seconds("seg", fails, sample("seg", BOX, 1, CPU), PLAIN, CPU) == float("inf")


@pytest.mark.parametrize("kind", ["seg", "reg"])
def test_a_sample_is_a_batch(kind: str) -> None:
    assert row_losses(kind, build(kind, 4, BOX, pixel_size=True), sample(kind, BOX, 3, CPU), LAST).shape == (3,)


def test_hardware_is_plain_data_and_names_the_cpu() -> None:
    facts = hardware(CPU)
    assert facts["cpu"]
    assert facts["torch"] == torch.__version__
    assert facts["cores"] >= 1
    assert all(isinstance(value, str | int | list) for value in facts.values())
