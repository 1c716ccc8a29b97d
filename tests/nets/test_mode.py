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
ROUGH, BOTH = Mode("bf16", False, False), Mode("bf16", True, False)


def network() -> torch.nn.Module:
    return build("seg", 4, BOX, pixel_size=True)


@pytest.mark.parametrize(("seconds", "taken"), [
    ({PLAIN: 10, LAST: 10, ROUGH: 10, BOTH: 10}, PLAIN),
    ({PLAIN: 10, LAST: 9, ROUGH: 11, BOTH: 9}, PLAIN),  # not clearly: noise may not decide
    ({PLAIN: 10, LAST: 8, ROUGH: 9, BOTH: 7.5}, LAST),
    ({PLAIN: 10, LAST: 8, ROUGH: 9, BOTH: 4}, BOTH),
    ({PLAIN: 10, LAST: 12, ROUGH: 5, BOTH: 4.9}, ROUGH),
    ({PLAIN: 10, LAST: 9, ROUGH: 9, BOTH: 8}, BOTH),
    ({PLAIN: float("inf"), LAST: 10, ROUGH: float("inf"), BOTH: float("inf")}, LAST)])
def test_the_plainest_that_no_other_clearly_beats(seconds: dict[Mode, float], taken: Mode) -> None:
    assert fastest([PLAIN, LAST, ROUGH, BOTH], seconds.__getitem__) == taken


def never(*_: object) -> Never:
    raise AssertionError("nothing was to be measured")


def test_what_is_asked_for_is_taken_unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "_seconds", never)
    asked: dict[str, Any] = {"precision": "bf16", "channels_last": False, "compile": True}
    assert choose("seg", never, BOX, 4, CPU, **asked) == Mode(**asked)


def test_a_cpu_without_bf16_units_is_not_offered_bf16_nor_any_cpu_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def seconds(kind: str, make: object, batch: object, mode: Mode, device: torch.device) -> float:
        seen.append(mode)
        return 1.0

    monkeypatch.setattr(measured, "_seconds", seconds)
    monkeypatch.setattr(measured, "_cpu", lambda: ("old", frozenset({"avx2", "avx512f"})))
    assert choose("seg", network, BOX, 4, CPU) == PLAIN
    assert set(seen) == {PLAIN, LAST}
    monkeypatch.setattr(measured, "_cpu", lambda: ("new", frozenset({"avx512_bf16"})))
    assert choose("seg", network, BOX, 4, CPU, channels_last=True) == LAST
    assert set(seen) == {PLAIN, LAST, BOTH}


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
