"""The step's bench: its rival is the same function, its figures are what they say, and it runs from end to end."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from argparse import Namespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lvray.nets.build import build
from lvray.nets.mode import sample
from scripts.bench import naive, sides, step

BOX = (3, 16, 16)
CPU = torch.device("cpu")
TINY = {"device": "cpu", "batch": 2, "box": "3,16,16", "width": 4, "threads": 1, "rounds": 2, "monai": None}


def weights_of(kind: str, network: torch.nn.Module) -> list[Tensor]:
    """lvray's weights as the naive network has them."""
    p = dict(network.named_parameters())
    taken = ("coarse", "fine", "image", "pixels", "second", "out")
    same = [value for name, value in p.items() if not name.startswith(taken)]
    if kind == "seg":
        head = torch.cat((p["coarse.weight"], p["fine.weight"]), 1)[:, :, None, None, None]
        return [*same, head, p["coarse.bias"]]
    first = torch.cat([p[name] / math.sqrt(p[name].shape[1]) for name in ("image.weight", "pixels.weight")], 1)
    return [*same, first, *(p[name] for name in ("image.bias", "second.weight", "second.bias", "out.weight",
                                                 "out.bias"))]


@pytest.mark.parametrize("kind", ["seg", "reg"])
def test_the_naive_network_is_the_same_function_and_loss(kind: str) -> None:
    torch.manual_seed(0)
    ours = build(kind, 4, BOX, pixel_size=True)
    theirs: torch.nn.Module = naive.Segmenter(4) if kind == "seg" else naive.Regressor(4, BOX)
    with torch.no_grad():
        for own, value in zip(theirs.parameters(), weights_of(kind, ours), strict=True):
            assert own.shape == value.shape
            own.copy_(value)
    given = sample(kind, BOX, 2, CPU)
    torch.testing.assert_close(theirs(given.image, given.spacing), ours(given.image, given.spacing),
                               rtol=1e-4, atol=1e-5)


def test_a_side_that_cannot_run_says_why() -> None:
    dies = [sys.executable, "-c", "raise SystemExit('no such module')"]
    with (subprocess.Popen(dies, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
          as process, pytest.raises(ValueError, match="no such module")):
        step.Side(process).ask("facts")


def test_flops_are_the_convolutions_and_matrices_forward_and_backward() -> None:
    case = sides.Case("seg", CPU, 2, BOX, 4)
    run, _ = sides.naive_side(case)
    forward = 0
    for pixels, blocks in ((64, (6, 9)), (16, (6, 9)), (4, (6, 9))):  # of a slice; one encoder and one decoder block
        forward += 3 * pixels * 2 * 27 * 4 * 4 * sum(blocks)
    forward += 3 * 256 * 2 * (27 * 4 + 3 * 8)  # stem and head
    assert sides.flops(run, case) == pytest.approx(3 * forward, rel=0.02)  # the image needs no gradient


def found(naive_s: list[float], lvray_s: list[float], peaks: tuple[int, int], gpu: str = "") -> dict[str, Any]:
    facts = {"flops": 10**12, "mode": {}, "hardware": {"gpu": gpu}}
    return {"naive": {**facts, "seconds": naive_s, "peak": peaks[0]},
            "lvray": {**facts, "seconds": lvray_s, "peak": peaks[1]}, "other": {"error": "is not here"}}


def test_ratios_are_taken_round_by_round(capsys: pytest.CaptureFixture[str]) -> None:
    part = step.show("seg", found([4.0, 9.0, 8.0], [2.0, 3.0, 1.0], (10**9, 5 * 10**8)), batch=4)
    assert part["naive"]["over_lvray"] == [3.0, 2.0, 8.0]
    assert part["lvray"]["peak_mb"] == 500
    assert part["other"] == {"error": "is not here"}
    assert "does not run: is not here" in capsys.readouterr().out


@pytest.mark.parametrize(("flags", "holds"), [
    ([], True), (["avx512_bf16"], True), (["avx512_bf16", "amx_bf16"], False)])
def test_what_must_hold_depends_on_the_cpu(flags: list[str], holds: bool) -> None:
    part = step.show("reg", found([2.0], [1.0], (10, 20)), batch=1)
    part["lvray"]["peak_mb"], part["naive"]["peak_mb"] = 20, 10
    assert step.verdict(flags, {"reg": part}) == {"reg speed": holds, "reg memory": False}


def test_share_of_the_roofline() -> None:
    facts = found([1.0], [0.1], (1, 1), gpu="NVIDIA H100 80GB HBM3")
    assert step.show("seg", facts, batch=4)["lvray"]["roofline_share"] == pytest.approx(40 / 989, abs=1e-3)
    assert step.roofline(found([1.0], [1.0], (1, 1), gpu="Some other")["naive"]) is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["seg", "reg"])
def test_the_whole_bench_on_tiny_boxes(kind: str) -> None:
    measured = step.bench(kind, Namespace(**TINY))
    part = json.loads(json.dumps(step.show(kind, measured, 2)))
    assert part["naive"]["seconds"][0] > 0
    assert part["lvray"]["peak_mb"] > 100
    assert ("error" in part.get("MONAI UNet", {})) == (kind == "seg")  # not among lvray's own packages
