"""A command line for another machine: the places that it names are to be reached from there, its files go along."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lvray import recipes
from lvray.errors import UseError
from lvray.shards import storage
from lvray.weights.own import DEFAULT

PLACES = ("src", "dst", "data", "run", "out", "checkpoint", "studies", "trained_on", "start")
"""Parameters of lvray's commands that are URIs."""
CHECKPOINTS = ("checkpoint", "start")
"""Those of them that lvray's own weights can stand for, which are where lvray is."""
FILES = ("recipe", "space", "labels", "splits", "link", "contours", "estimates", "masks", "outcomes")
"""Those that may be files or folders of this machine."""
COMMANDLINE = "COMMANDLINE"


def given(context: Any) -> dict[str, Any]:
    """The parameters of a parsed command that were on its command line, by name."""
    return {name: value for name, value in context.params.items()
            if (source := context.get_parameter_source(name)) is not None and source.name == COMMANDLINE}


def check_places(command: Any, values: Mapping[str, Any]) -> None:
    """UseError: a place on this machine, or a key, which stays here."""
    for param in command.params:
        if param.name in PLACES and not all(storage.is_s3(uri) or (uri == DEFAULT and param.name in CHECKPOINTS)
                                            for uri in _each(values.get(param.name))):
            raise UseError(f"{_called(param)} is a place on this machine, which the cluster's nodes do not have: give"
                           " an s3:// URI")
    if (key := values.get("key")) is not None and not key.is_absolute():
        raise UseError("--key: a key is not sent along: let the head have it in LVRAY_KEY (on Kubernetes the Secret"
                       " lvray-key), or give the absolute path of a file there")


def pack(command: Any, values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The same values, with files and folders copied into `folder` and named as they lie there. UseError: one that
    cannot be read."""
    packed = dict(values)
    for param in command.params:
        if param.name in FILES and not isinstance(value := values.get(param.name), bool | None):
            several = isinstance(value, list | tuple)
            sent = [_copied(param, str(one), folder, f"-{number}" if several else "")
                    for number, one in enumerate(_each(value), 1)]
            packed[param.name] = sent if several else sent[0]
    return packed


def line(command: Any, values: Mapping[str, Any]) -> list[str]:
    """Arguments that the command parses to these values."""
    arguments, options = [], []
    for param in command.params:
        if param.name not in values:
            continue
        if param.param_type_name == "argument":
            arguments += [str(value) for value in _each(values[param.name])]
        elif param.is_flag:
            options.append(param.opts[0])
        else:
            options += [f"{param.opts[0]}={value}" for value in _each(values[param.name])]
    return [*arguments, *options]


def _copied(param: Any, value: str, folder: Path, number: str) -> str:
    """NAME=PLACE keeps its name."""
    if (param.name == "recipe" and (value in recipes.ALL or not value.endswith(".json"))) or value.startswith("s3://"):
        return value
    name, equals, place = value.rpartition("=") if param.name == "masks" else ("", "", value)
    path = Path(place.removeprefix("file://")).expanduser()
    sent = f"{param.name}{number}{path.suffix if path.is_file() else ''}"
    try:
        if path.is_dir():
            shutil.copytree(path, folder / sent)
        else:
            shutil.copyfile(path, folder / sent)
    except OSError as error:
        raise UseError(f"{_called(param)}: cannot be read: {error.strerror}") from error
    return f"{name}{equals}{sent}"


def _called(param: Any) -> str:
    return str(param.opts[0] if param.param_type_name == "option" else param.name.upper())


def _each(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
