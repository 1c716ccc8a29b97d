"""The training step: its gradient against a plain implementation's, passes, clipping, workers, what is not finite."""

from __future__ import annotations

import copy
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lvray.nets.batch import Batch
from lvray.nets.build import build
from lvray.nets.step import Mode, Stepped, backward, deterministic, optimiser_of, ready, row_losses, train_step
from tests.nets import plain

BOX = (3, 16, 24)
ROWS = 4
CPU = torch.device("cpu")
FP32 = Mode("fp32", channels_last=True, compile=False)
KINDS = pytest.mark.parametrize("kind", ["seg", "reg"])
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")


def network(kind: str, mode: Mode = FP32, device: torch.device = CPU) -> torch.nn.Module:
    torch.manual_seed(0)
    return ready(build(kind, 4, BOX, pixel_size=True, pitch=True), mode, device)


def batch(kind: str, rows: int = ROWS) -> Batch:
    """The image has padding, as real ones do: ties in every pool."""
    rng = torch.Generator().manual_seed(1)
    image = torch.randn(rows, 1, *BOX, generator=rng)
    image[:, :, -1] = image[:, :, :, :, 18:] = 0
    spacing = torch.tensor([10.0, 1.8, 1.8]) + torch.randn(rows, 3, generator=rng) / 10
    target = torch.randn(rows, generator=rng)
    if kind == "seg":
        target = torch.randint(0, 3, (rows, *BOX), dtype=torch.uint8, generator=rng)
    return Batch(image, spacing, target, tuple(range(rows)))


def part(whole: Batch, rows: slice) -> Batch:
    return Batch(whole.image[rows], whole.spacing[rows], whole.target[rows], whole.numbers[rows])


def gradient(model: torch.nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def weights(model: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def step(kind: str, model: torch.nn.Module, mode: Mode = FP32, given: Batch | None = None, **more: Any) -> Stepped:
    optimiser = optimiser_of("adam", model, 1e-3)
    return train_step(kind, model, optimiser, given or batch(kind), mode, batch_rows=ROWS, **more)


@KINDS
@pytest.mark.parametrize(("mode", "tolerance"), [
    (Mode("fp32", False, False), 1e-4), (Mode("fp32", True, False), 1e-4), (Mode("bf16", True, False), 0.15)])
def test_gradient_is_a_plain_implementations(kind: str, mode: Mode, tolerance: float) -> None:
    model, given = network(kind, mode), batch(kind)
    p = plain.weights_of(model)
    target = given.target if kind == "seg" else given.target.double()
    expected = plain.loss(kind, p, given.image.double(), given.spacing.double(), target)
    expected.backward()
    loss = backward(kind, model, given, mode, batch_rows=ROWS)
    assert float(loss) == pytest.approx(expected.item(), rel=tolerance)
    for name, q in model.named_parameters():
        wanted = p[name].grad
        assert q.grad is not None
        assert wanted is not None
        assert q.grad.dtype == torch.float32
        assert (q.grad.double() - wanted).norm() < tolerance * wanted.norm() + 1e-7, name


@KINDS
def test_a_step_is_one_update_of_adam(kind: str) -> None:
    model, reference = network(kind), network(kind)
    done = step(kind, model)
    loss = row_losses(kind, reference, batch(kind), FP32).mean()
    loss.backward()
    torch.optim.Adam(reference.parameters(), 1e-3).step()
    torch.testing.assert_close(weights(model), weights(reference), rtol=0, atol=1e-6)
    assert done.loss == pytest.approx(loss.item(), rel=1e-6)
    assert done.norm == pytest.approx(gradient(reference).norm().item(), rel=1e-5)


@KINDS
@pytest.mark.parametrize("passes", [2, 3, 4, 9])
def test_accumulated_passes_are_one_pass(kind: str, passes: int) -> None:
    whole, cut = network(kind), network(kind)
    a, b = step(kind, whole), step(kind, cut, accumulate=passes)
    assert (gradient(whole) - gradient(cut)).norm() < 1e-5 * a.norm
    assert (a.loss, a.norm) == pytest.approx((b.loss, b.norm), rel=1e-5)


def test_a_long_gradient_is_scaled_to_the_clip_and_a_short_one_left() -> None:
    models = [network("reg") for _ in range(3)]
    norm = step("reg", models[0]).norm
    assert step("reg", models[1], clip=norm / 10).norm == norm
    assert step("reg", models[2], clip=norm * 1.01).norm == norm
    assert gradient(models[1]).norm().item() == pytest.approx(norm / 10, rel=1e-5)
    torch.testing.assert_close(gradient(models[1]) * 10, gradient(models[0]), rtol=1e-5, atol=1e-8)
    assert torch.equal(gradient(models[2]), gradient(models[0]))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nothing_is_updated_by_what_is_not_finite(bad: float) -> None:
    model = network("reg")
    optimiser = optimiser_of("adam", model, 1e-3)
    train_step("reg", model, optimiser, batch("reg"), FP32, batch_rows=ROWS)
    before, state = weights(model), json.dumps(optimiser.state_dict(), default=Tensor.tolist)
    image = batch("reg").image
    image[1, 0, 0, 0, 0] = bad
    done = train_step("reg", model, optimiser, replace(batch("reg"), image=image), FP32, batch_rows=ROWS, clip=1.0)
    assert not done.finite
    assert torch.equal(weights(model), before)
    assert json.dumps(optimiser.state_dict(), default=Tensor.tolist) == state


@pytest.mark.parametrize(("loss", "norm", "finite"), [
    (1.0, 2.0, True), (math.nan, 2.0, False), (1.0, math.inf, False), (-math.inf, 0.0, False)])
def test_finite(loss: float, norm: float, finite: bool) -> None:
    assert Stepped(loss, norm).finite == finite


@pytest.mark.parametrize("name", ["adam", "radam"])
def test_an_optimiser_goes_on_from_its_state(name: str) -> None:
    made = [network("reg"), network("reg")]
    optimisers = [optimiser_of(name, model, 1e-3) for model in made]
    for _ in range(7):  # RAdam begins to adapt at its sixth step
        train_step("reg", made[0], optimisers[0], batch("reg"), FP32, batch_rows=ROWS)
    made[1].load_state_dict(made[0].state_dict())
    optimisers[1].load_state_dict(copy.deepcopy(optimisers[0].state_dict()))
    for model, optimiser in zip(made, optimisers, strict=True):
        train_step("reg", model, optimiser, batch("reg"), FP32, batch_rows=ROWS)
    assert torch.equal(weights(made[0]), weights(made[1]))


WORKER = """
import json, sys
import torch
from tests.nets import test_step as t
rank, where = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{where}", rank=rank, world_size=2)
print(json.dumps({kind: [t.trained(kind, slice(0, 1) if rank == 0 else slice(1, None)) for _ in range(2)]
                  for kind in ("seg", "reg")}))
torch.distributed.destroy_process_group()
"""


def trained(kind: str, rows: slice) -> dict[str, Any]:
    """Three steps with these rows of the batch."""
    model, mine = network(kind), part(batch(kind), rows)
    optimiser = optimiser_of("adam", model, 1e-3)
    done = [train_step(kind, model, optimiser, mine, FP32, batch_rows=ROWS, clip=0.5) for _ in range(3)]
    return {"done": [[s.loss, s.norm] for s in done], "gradient": gradient(model).tolist(),
            "weights": weights(model).tolist()}


def test_two_workers_do_what_one_does_and_the_same_bits_each_time(tmp_path: Path) -> None:
    """One of them has one row of the batch, the other three."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [subprocess.Popen([sys.executable, "-c", WORKER, str(rank), str(tmp_path / "meet")],
                                stdout=subprocess.PIPE, text=True, env=environment) for rank in range(2)]
    said = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    workers = [json.loads(text.splitlines()[-1]) for text in said]
    assert workers[0] == workers[1]
    for kind in ("seg", "reg"):
        first, again = workers[0][kind]
        assert first == again
        alone = trained(kind, slice(None))
        for together, single in zip(first["done"], alone["done"], strict=True):
            assert together == pytest.approx(single, rel=1e-4)
        expected = torch.tensor(alone["gradient"])
        assert (torch.tensor(first["gradient"]) - expected).norm() < 1e-3 * expected.norm()


@KINDS
def test_a_step_compiles_whole_with_its_gradient(kind: str) -> None:
    plain_model, traced = network(kind), network(kind)
    traced.compile(backend="aot_eager", fullgraph=True)  # traced as on a GPU, but run by torch's own operators
    a, b = step(kind, plain_model), step(kind, traced)
    assert (a.loss, a.norm) == pytest.approx((b.loss, b.norm), rel=1e-5)


@CUDA
@KINDS
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpus_steps_are_the_same_bits_each_time(kind: str, precision: Any) -> None:
    device, mode = torch.device("cuda"), Mode(precision, channels_last=True, compile=False)
    deterministic(device)
    try:
        ended = []
        for _ in range(2):
            model, given = network(kind, mode, device), batch(kind)
            given = Batch(given.image.cuda(), given.spacing.cuda(), given.target.cuda(), given.numbers)
            optimiser = optimiser_of("adam", model, 1e-3)
            for _ in range(5):
                train_step(kind, model, optimiser, given, mode, batch_rows=ROWS, clip=1.0)
            ended.append(weights(model))
        assert torch.equal(*ended)
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_cpu_needs_nothing_to_be_deterministic() -> None:
    deterministic(CPU)
    assert not torch.are_deterministic_algorithms_enabled()
