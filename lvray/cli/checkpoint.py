"""Commands that look at checkpoints."""

from __future__ import annotations

from typing import Any

import typer

from lvray import console
from lvray.cli.options import Json
from lvray.weights.own import located

checkpoint = typer.Typer(no_args_is_help=True, help="Look at checkpoints.")


@checkpoint.command()
def show(uri: str, as_json: Json = False) -> None:
    """What a checkpoint is of and whether it is whole; of a run's folder: its checkpoints, and where it would go on.

    Example: lvray checkpoint show runs/seg/best
    """
    from lvray.jobs.show import show as facts

    console.result(facts(located(uri)), as_json,
                   lambda found: _run_text(found) if "checkpoints" in found else _text(found))


def _text(found: dict[str, Any]) -> str:
    network, mode = found["network"], found["mode"]
    ranges = (f"{name} {least:g} to {most:g}" for name, (least, most) in found["trained_on"].items())
    return "\n".join([
        f"{found['recipe']}, {_position(found)}: {found['parameters']:,} parameters",
        "network: " + ", ".join(f"{name} {value}" for name, value in network.items()),
        "steps: " + ", ".join(f"{name} {value}" for name, value in mode.items()) + f"; {found['world']} workers",
        "metrics: " + (_metrics(found) or "none yet"),
        "trained on: " + ", ".join(ranges),
        "intervals: " + _intervals(found["intervals"]),
        f"data {found['data']}, lvray {found['version']}",
        "files: " + ", ".join(f"{name} {size:,} bytes" for name, size in found["bytes"].items()),
        f"weights {found['weights_sha256'][:16]}; all checksums hold"])


def _intervals(found: dict[str, Any] | None) -> str:
    if found is None:
        return "none; `lvray calibrate` fits them"
    return (f"{100 * found['level']:.0f} %, +- {found['half_g']:.1f} g, of {found['n']} calibration people"
            f" ({found['kind']})")


def _run_text(found: dict[str, Any]) -> str:
    best, resumes = found["best"] or {}, found["resumes"]
    notes = dict.fromkeys(found["damaged"], "  damaged, passed over") | {resumes: "  the run goes on from here"}
    listed = [f"{at['name']}  {_position(at)}{notes.get(at['name'], '')}" for at in found["checkpoints"]]
    return "\n".join([
        f"{found['recipe']}: data {found['data']}, lvray {found['version']}", *(listed or ["no checkpoint yet"]),
        f"best: {best['damaged']}" if "damaged" in best else f"best: {_position(best)}  {_metrics(best)}" if best
        else "no best checkpoint published yet"])


def _position(at: dict[str, Any]) -> str:
    return f"{at['epoch']} epochs" + (f" and {at['step']} steps" if at["step"] else "") + " done"


def _metrics(found: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in found["metrics"].items())
