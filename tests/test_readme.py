"""Every command of ours in README.md and k8s/README.md: parsed by what runs it, or rendered."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from ray.dashboard.modules.job.cli import job_cli_group
from typer.exceptions import TyperException

from lvray import cli, recipes
from lvray.cli import parcel
from tests.k8s.manifests import Object, name, render

ROOT = Path(__file__).resolve().parents[1]
FILES = ("README.md", "k8s/README.md")
GROUP: Any = typer.main.get_command(cli.app)
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
KINDS = {"rayjob": "RayJob", "rayjobs": "RayJob", "rayservice": "RayService", "rayservices": "RayService"}


def blocks(text: str) -> Iterator[str]:
    """The lines of fenced blocks, continued lines as one, without comments."""
    for _, block in FENCED.findall(text):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            yield re.sub(r"(^|\s)# .*", "", line).strip()


def inline(text: str) -> Iterator[str]:
    """What stands between backticks in the text; a line may end there."""
    for found in re.findall(r"`([^`]+)`", FENCED.sub("", text)):
        yield " ".join(found.split())


def simple(line: str) -> Iterator[list[str]]:
    """The words of each command of a line: without pipes, `&`, redirections and variables ahead."""
    for part in re.split(r"\s*(?:\|\||\||&&|;)\s*|\s&$", line):
        words = shlex.split(re.sub(r"\s\d?>\s*\S+", "", part))
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words:
            yield words


def commands(program: str) -> list[tuple[str, bool, list[str]]]:
    """(file, whether in a block, arguments) of every example that runs this program."""
    found = []
    for file in FILES:
        text = (ROOT / file).read_text()
        for where, lines in ((True, blocks(text)), (False, inline(text))):
            found += [(file, where, words[len(program.split()):]) for line in lines if line.startswith(
                (program, "RAY_", "AWS_", "LVRAY_", "kubectl")) for words in simple(line)
                if words[:len(program.split())] == program.split()]
    return found


def check_lvray(arguments: list[str], whole: bool) -> dict[str, Any]:
    """Parsed by lvray's own command line. whole: nothing may be missing. -> what it understood."""
    group, path = GROUP, []
    while arguments and arguments[0] in getattr(group, "commands", {}):
        path.append(arguments[0])
        group, arguments = group.commands[arguments[0]], arguments[1:]
    assert path or not arguments or arguments[0].startswith("-"), f"no command {arguments[0]}"
    if (arguments in ([], ["--help"]) and not whole) or hasattr(group, "commands"):
        return {}
    wrong = ""
    try:
        context = group.make_context(path[-1], [*arguments], parent=GROUP.make_context("lvray", ["recipes"]))
    except TyperException as error:
        wrong = f"{' '.join(path)}: {error.format_message()}"
    assert not wrong or (not whole and "Missing" in wrong), wrong
    if wrong:
        return {}
    values = parcel.given(context)
    assert values.get("recipe", "mine.json") in (*recipes.ALL, "mine.json", "RECIPE")
    if path == ["submit"]:
        check_lvray(values["command"], whole)
    return values


def cases(program: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("file", "whole", "arguments"), commands(program))


@cases("lvray")
def test_lvray(file: str, whole: bool, arguments: list[str]) -> None:
    check_lvray(arguments, whole)


@cases("scripts/submit")
def test_submit(file: str, whole: bool, arguments: list[str]) -> None:
    if arguments or whole:
        check_lvray(["submit", *arguments], whole)


@cases("ray job submit")
def test_ray_job_submit(file: str, whole: bool, arguments: list[str]) -> None:
    if not arguments and not whole:
        return
    asked = job_cli_group.commands["submit"].make_context("submit", [*arguments])
    program, *rest = asked.params["entrypoint"]
    assert program == "lvray"
    check_lvray(rest, whole=True)


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[Object]]:
    """By folder."""
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl to render the manifests with")
    made: dict[str, list[Object]] = {}
    for _, _, arguments in commands("kubectl"):
        if "-k" in arguments and (folder := arguments[arguments.index("-k") + 1]) not in made:
            made[folder] = render(ROOT / folder)
    return made


@pytest.mark.parametrize("arguments", [a for _, _, a in commands("kubectl") if "-k" in a], ids=" ".join)
def test_what_is_applied_is_there(arguments: list[str], rendered: dict[str, list[Object]]) -> None:
    objects = rendered[arguments[arguments.index("-k") + 1]]
    selector = arguments[arguments.index("-l") + 1] if "-l" in arguments else ""
    assert [found for found in objects if selected(found, selector)], selector
    for wanted in re.findall(r"\(([^)]*)\)", selector):
        for value in re.split(r"\s*,\s*", wanted):
            assert [found for found in objects if selected(found, f"lvray/step={value}")], value


def selected(found: Object, selector: str) -> bool:
    """By a label selector: `a=b` or `a in (b, c)`. AssertionError: another form."""
    labels = found["metadata"].get("labels", {})
    if not selector:
        return True
    asked = re.fullmatch(r"([\w./-]+)(?:=([\w.-]+)| in \(([\w., -]+)\))", selector)
    assert asked, selector
    return labels.get(asked[1]) in ([asked[2]] if asked[2] else re.split(r"\s*,\s*", asked[3]))


@pytest.mark.parametrize(("selector", "there"), [
    ("", True), ("lvray/step=serve", True), ("lvray/step=server", False), ("lvray/step in (tune, serve)", True),
    ("lvray/step in (tune)", False), ("step=serve", False)])
def test_selectors(selector: str, there: bool) -> None:
    assert selected({"metadata": {"labels": {"lvray/step": "serve"}}}, selector) == there


def test_what_is_waited_for_and_deleted_is_there(rendered: dict[str, list[Object]]) -> None:
    there = {name(found) for objects in rendered.values() for found in objects}
    named = [(KINDS[kind], called) for _, _, arguments in commands("kubectl") for kind, called in
             re.findall(rf"\b({'|'.join(KINDS)})[/ ]([a-z][\w-]*)", " ".join(arguments)) if called not in KINDS]
    assert ("RayJob", "tensorize") in named
    assert not [f"{kind} {called}" for kind, called in named if f"{kind} {called}" not in there]


def test_there_are_examples() -> None:
    """None is passed over."""
    for program in ("lvray", "scripts/submit", "ray job submit", "kubectl apply"):
        fenced = "".join(block for file in FILES for _, block in FENCED.findall((ROOT / file).read_text()))
        text = re.sub(r"\\\n\s*", " ", fenced)
        lines = re.findall(rf"^\s*(?:\w+=\S+ )*{program} .*$", text, re.MULTILINE)
        found = [words for _, whole, words in commands(program) if whole]
        assert len(found) == len(lines) > 0, program


@pytest.mark.parametrize(("line", "wrong"), [
    ("train smoke_seg --data s3://b/d", "Missing option '--run'"), ("trian smoke_seg", "no command trian"),
    ("train smok_seg --data s3://b/d --run s3://b/r", "smok_seg"), ("train smoke_seg --gpus 3", "--gpus"),
    ("submit --address http://HEAD:8265 train smoke_seg --data s3://b/d", "Missing option '--run'")])
def test_the_test_finds_what_is_stale(line: str, wrong: str) -> None:
    with pytest.raises(AssertionError, match=wrong):
        check_lvray(line.split(), whole=True)
