"""How the command talks: results on stdout, everything else on stderr, errors as one line and an exit code."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from typer.exceptions import TyperException

from lvray.cmr.quality import Flag, words
from lvray.errors import LvrayError
from lvray.settings import Quality
from lvray.shards.identity import keyed
from lvray.shards.listing import Source

INTERRUPTED = 130
"""Typer's answer to Ctrl-C."""
EXTRA = re.compile(r"(unexpected extra argument)\S* \(.*\)", re.DOTALL)
NO_COMMAND = re.compile(r"(No such command) .*\.(?= Did you mean|$)", re.DOTALL)
"""Typer repeats the arguments, which may be paths: names of studies."""
SECONDS_A_LINE = 60.0
"""Of a training run, where there is no terminal."""
err = Console(stderr=True, highlight=False, soft_wrap=True)


def run(command: Callable[[], int | None]) -> int:
    """Run a command to its exit code. A fault is one line on stderr; LVRAY_DEBUG=1 adds where it arose."""
    try:
        code = command() or 0
        if code == INTERRUPTED:
            say("lvray: interrupted")
        return code
    except TyperException as e:
        message = NO_COMMAND.sub(r"\1.", EXTRA.sub(r"\1", e.format_message())).rstrip(".")
        say(message if "\n" in message else f"lvray: {message} (--help says more)")
        return e.exit_code
    except LvrayError as e:
        _debug(e)
        say(f"lvray: {e}")
        return e.exit_code
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the reader of stdout has gone; nothing more can reach it
        return 0
    except Exception as e:
        _debug(e)
        say(f"lvray: internal error ({type(e).__name__}): run again with LVRAY_DEBUG=1 and report what it prints")
        return 1


def _debug(error: BaseException) -> None:
    """Where an error arose and what led to it, the latest first: texts of others' errors may hold paths and ids."""
    link: BaseException | None = error if os.environ.get("LVRAY_DEBUG") else None
    while link is not None:
        text = f": {str(link).splitlines()[-1]}" if isinstance(link, LvrayError) and str(link) else ""
        say(f"{type(link).__name__}{text}")
        for frame in traceback.extract_tb(link.__traceback__):
            say(f"  {'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno} in {frame.name}")
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def say(line: str) -> None:
    """A line for people."""
    err.print(line, markup=False)


def result(value: dict[str, Any], as_json: bool, text: Callable[[dict[str, Any]], str]) -> None:
    """One result on stdout: a JSON object on a line, or text."""
    print(json.dumps(value, allow_nan=False) if as_json else text(value), flush=True)


@contextmanager
def progress(title: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[..., None]]:
    """A bar on a terminal, a line every tenth elsewhere; both with the rate and the time left. Calls: (done, of, note).

    The rate counts from the first call, so what an earlier run had done does not flatter it.
    """
    shown = 0
    first: tuple[int, float] | None = None

    with Progress(TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(),
                  TextColumn("{task.fields[note]}"), console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task(title, total=None, note="")

        def tell(done: int, of: int, note: str = "") -> None:
            nonlocal shown, first
            now = clock()
            first = first or (done, now)
            notes = ", ".join(n for n in (note, _pace(done - first[0], now - first[1], of - done)) if n)
            bar.update(task, completed=done, total=of, note=notes)
            tenth = done * 10 // max(of, 1)
            if not err.is_terminal and tenth > shown:
                shown = tenth
                say(f"{title}: {done} of {of}{'  ' + notes if notes else ''}")

        yield tell


def _pace(done: int, seconds: float, left: int) -> str:
    """"2.1 a second, 38 s left"; nothing where there is no rate yet."""
    if done < 1 or seconds <= 0:
        return ""
    rate = done / seconds
    length, unit = (1, "a second") if rate >= 1 else (60, "a minute") if rate * 60 >= 1 else (3600, "an hour")
    return f"{rate * length:.1f} {unit}" + (f", {_span(left / rate)} left" if left > 0 else "")


def _span(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@contextmanager
def training(title: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What a training run tells (jobs/loop.py) as progress: a bar on a terminal; elsewhere a line at each validation
    and, between them, one a minute. Notices, and where a run goes on from, are lines too.

    The time left counts from where the run was when this began, so validations and restarts count in it.
    """
    now: dict[str, Any] = {}
    first: tuple[int, float] | None = None
    said = clock()

    with Progress(TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[note]}"),
                  console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task(title, total=None, note="")

        def tell(line: dict[str, Any]) -> None:
            nonlocal first, said
            if "notice" in line:
                say(f"{title}: {line['notice']}")
                return
            now.update(line.get("pace", line))
            validated = "epoch" in line and "step" not in line
            if "begins" in line:
                epoch, step = line["begins"]
                now.update(epoch=epoch + 1, step=step)
                if epoch or step:
                    say(f"{title}: goes on from epoch {epoch + 1}, step {step + 1}")
            elif not validated and "pace" not in line:
                return
            done, of = (now["epoch"] - 1) * now["steps"] + now["step"], now["epochs"] * now["steps"]
            first = first or (done, clock())
            text = training_text(now, _left(done - first[0], clock() - first[1], of - done))
            bar.update(task, completed=done, total=of, note=text)
            if not err.is_terminal and "begins" not in line and (validated or clock() - said >= SECONDS_A_LINE):
                said = clock()
                say(f"{title}: {text}")

        yield tell


def training_text(now: Mapping[str, Any], seconds_left: float | None) -> str:
    """"epoch 3 of 40, step 12 of 34, loss 0.123, 85 samples/s, 2 % waiting for data, 4 min left", of what is known."""
    parts = [f"epoch {now['epoch']} of {now['epochs']}", f"step {now['step']} of {now['steps']}"]
    parts += [f"{name} {now[key]:.3f}" for name, key in (("loss", "loss"), ("validation", "validation_loss"))
              if key in now]
    if "samples_per_second" in now:
        rate = now["samples_per_second"]
        parts += [f"{rate:.{0 if rate >= 10 else 1}f} samples/s", f"{100 * now['waiting']:.0f} % waiting for data"]
    if seconds_left:
        parts.append(f"{_span(seconds_left)} left")
    return ", ".join(parts)


def _left(done: int, seconds: float, left: int) -> float | None:
    return seconds / done * left if done > 0 else None


def study_name(source: Source, key: bytes | None, show_paths: bool) -> str:
    """"study 3", with its keyed hash where a key is at hand, and with its path where the user asks for it."""
    parts = [f"study {source.position}"]
    if key is not None:
        parts.append(keyed(key, "study", source.name)[:12])
    if show_paths:
        parts.append(source.uri)
    return " ".join(parts)


def generated_text(said: dict[str, Any]) -> str:
    """What generate made."""
    return f"{said['hearts']} hearts: {said['rows']} rows ({_counts(said['splits'])}), seed {said['seed']}"


def tensorized_text(said: dict[str, Any], quality: Quality) -> str:
    """What tensorize did and what the data set holds now: counts first, then what is doubtful, in words."""
    lines = [f"{said['studies']} studies: {said['rows']} rows ({_counts(said['splits'])}), {said['refused']} refused"]
    if said["read"] < said["studies"]:
        lines.append(f"{said['read']} read by this run; the others were there already")
    if said["absent"]:
        lines.append(f"{said['absent']} of the data set are not in SRC any more; their rows stay")
    lines += [f"  refused {n}: {reason}" for reason, n in said["reject_reasons"].items()]
    return "\n".join([*lines, *_flag_lines(said["flags"], quality)])


def summary_text(summary: dict[str, Any]) -> str:
    """A data set, a line a fact; `flags` in words."""
    lines = []
    for name, value in summary.items():
        if name == "flags":
            lines += ["flags:", *_flag_lines(value, Quality.model_validate(summary["settings"]["quality"]))]
        elif isinstance(value, dict) and name != "settings":
            lines += [f"{name}:", *(f"  {k}: {_counts(v)}" for k, v in value.items())] if value else [f"{name}: none"]
        else:
            lines.append(f"{name}: {json.dumps(value) if name == 'settings' else value}")
    return "\n".join(lines)


def _flag_lines(flags: dict[str, int], quality: Quality) -> list[str]:
    return [f"  flagged {n}: {flag}: {words(Flag(flag), quality)}" for flag, n in flags.items()]


def _counts(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in value.items())


def estimate_text(value: dict[str, Any]) -> str:
    """An estimate for people: grams first, then what they rest on, then what is doubtful, in words."""
    dz, dy, dx = value["spacing_mm"]
    mass = "no LV mass" if value["mass_g"] is None else f"LV mass {value['mass_g']:.1f} g"
    if value.get("interval_g") is not None:
        low, high = value["interval_g"]
        mass += (f", centred {value['centred_g']:.1f} g ({100 * value['interval_level']:.0f} % interval {low:.0f} to"
                 f" {high:.0f} g)")
    lines = [f"{value['name']}: {mass} ({value['method']}; ED is phase {value['ed_phase']};"
             f" {value['slices']} of {len(value['stack_instances'])} slices; {dz:.2f} x {dy:.3f} x {dx:.3f} mm)"]
    volumes = [f"{label} {value[key]:.1f} {unit}" for key, label, unit in
               (("edv_ml", "EDV", "mL"), ("esv_ml", "ESV", "mL"), ("lvmi_g_m2", "LVMI", "g/m2"))
               if value[key] is not None]
    if value["ef"] is not None:
        volumes.append(f"EF {100 * value['ef']:.0f} %")
    if volumes:
        lines.append("  " + ", ".join(volumes))
    lines += [f"  ! {flag}: {words(Flag(flag))}" for flag in value["quality"]]
    return "\n".join(lines)
