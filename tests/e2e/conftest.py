"""A tiny cohort with everything that can go wrong in it, tensorized and trained on once for all tests here."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lvray import recipes
from lvray.cmr.phantom.people import PhantomOptions, person
from lvray.cmr.phantom.ukb import write
from lvray.settings import Recipe, Splits
from lvray.shards.identity import keyed
from lvray.shards.splits import split_of

KEY = "a key for tests, 32 bytes long.."
SEED, PARTICIPANTS = 5, 16
SPLITS = Splits(validation=0.15, calibration=0.1, holdout=0.25, seed=24)
SMALL = ["network.width=4", "network.box=6,32,32"]


@dataclass(frozen=True)
class Cohort:
    """src: 16 phantoms in zips, two of whom came twice, and three bad studies; shards: the data set made of it.

    people: {participant's hash: split}, worked out from the ids alone; good: the zips of their first visits; bad: no
    zip, a zip that points outside itself, a text named .dcm. secrets: what no output may hold.
    """

    src: Path
    shards: Path
    key: Path
    good: list[Path]
    bad: list[Path]
    people: dict[str, str]
    repeated: frozenset[str]
    secrets: frozenset[str]
    tensorized: Any
    """What the command said."""


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, the recipe, what the command said, and whose rows its workers took from the stream:
    {"train": [...], "validation": [...]}, participants' hashes."""

    folder: Path
    recipe: Recipe
    said: Any
    seen: dict[str, list[str]]

    @property
    def best(self) -> Path:
        return self.folder / "best"


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory, lvray: Callable[..., Any], ray_cluster: None) -> Cohort:
    base = tmp_path_factory.mktemp("cohort")
    src, shards, key = base / "ukb", base / "shards", base / "key"
    key.write_text(KEY)
    write(src, PARTICIPANTS, SEED, PhantomOptions(phases=2, slices=6, rows=64, columns=64))
    everyone = [person(SEED, number) for number in range(PARTICIPANTS)]
    people = {hashed(p.eid): split_of(hashed(p.eid), SPLITS) for p in everyone}
    repeated = [next(p.eid for p in everyone if people[hashed(p.eid)] == split) for split in ("train", "holdout")]
    for eid in repeated:
        shutil.copy(src / f"{eid}_20209_2_0.zip", src / f"{eid}_20209_3_0.zip")
    bad = [src / "9111111_20209_2_0.zip", src / "9222222_20209_2_0.zip", src / "9333333"]
    bad[0].write_bytes(b"no zip at all")
    with zipfile.ZipFile(bad[1], "w") as archive:
        archive.writestr("../escaped.dcm", b"")
    bad[2].mkdir()
    (bad[2] / "9333333.dcm").write_text("Planted^Text")
    said = lvray("tensorize", src, shards, "--key", key, "--max-rejects", "0.2", "--json",
                 *(f"--set=splits.{name}={value}" for name, value in SPLITS.model_dump().items()))
    secrets = {*(path.name[:7] for path in bad), *(str(p.eid) for p in everyone), "Planted", "Phantom0",
               *(f"{p.birth:%Y%m%d}" for p in everyone)}
    good = [src / f"{p.eid}_20209_2_0.zip" for p in everyone]
    return Cohort(src, shards, key, good, bad, people, frozenset(map(hashed, repeated)), frozenset(secrets), said)


def hashed(eid: int | str) -> str:
    return keyed(KEY.encode(), "participant", str(eid))


@pytest.fixture(scope="session")
def seg(cohort: Cohort, lvray: Callable[..., Any]) -> Trained:
    return trained(cohort, lvray, "smoke_seg", [*SMALL, "optimiser.lr=0.01", "epochs=16"])


@pytest.fixture(scope="session")
def reg(cohort: Cohort, lvray: Callable[..., Any]) -> Trained:
    return trained(cohort, lvray, "smoke_reg", [*SMALL, "epochs=2", "validate_epochs=2"])


def trained(cohort: Cohort, lvray: Callable[..., Any], recipe: str, sets: list[str]) -> Trained:
    """The train command, its workers writing down whose rows they take."""
    folder = cohort.shards.parent / recipe
    log = cohort.shards.parent / f"{recipe}-rows.jsonl"

    def noting(config: dict[str, Any]) -> None:
        from lvray.jobs import prepare, worker

        collate = prepare.collate

        def noted(recipe: Recipe, rows: list[Any], epoch: int | None, numbers: list[int]) -> Any:
            with log.open("a") as out:
                what = "validation" if epoch is None else "train"
                out.write("".join(json.dumps([what, row.participant]) + "\n" for row in rows))
            return collate(recipe, rows, epoch, numbers)

        vars(prepare)["collate"] = noted
        worker.work(config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lvray.jobs.fit.work", noting)
        said = lvray("train", recipe, "--data", cohort.shards, "--run", folder, "--json",
                     *(f"--set={assignment}" for assignment in sets))
    seen: dict[str, list[str]] = {"train": [], "validation": []}
    for line in log.read_text().splitlines():
        what, participant = json.loads(line)
        seen[what].append(participant)
    return Trained(folder, recipes.override(recipes.named(recipe), sets), said, seen)


@dataclass(frozen=True)
class Outcome:
    """A command's folder of output and what it said."""

    folder: Path
    said: Any


@pytest.fixture(scope="session")
def evaluated(cohort: Cohort, seg: Trained, reg: Trained, lvray: Callable[..., Any]) -> Outcome:
    """Both networks, InlineVF, two methods of a CSV by participants' ids, and one mask of a holdout person."""
    base = cohort.shards.parent
    eids = [person(SEED, number).eid for number in range(PARTICIPANTS)]
    held_out = next(eid for eid in eids if cohort.people[hashed(eid)] == "holdout")
    lines = ["participant,Theirs,Never", *(f"{eid},{80 + number},"for number, eid in enumerate(eids))]
    (base / "theirs.csv").write_text("\n".join(lines) + "\n")
    lvray("predict", cohort.src / f"{held_out}_20209_2_0.zip", "--checkpoint", seg.best,
          "--mask", base / "masks" / f"{held_out}.nii.gz")
    out = base / "report"
    return Outcome(out, lvray("evaluate", "--data", cohort.shards, "--checkpoint", seg.best, "--checkpoint", reg.best,
                              "--estimates", base / "theirs.csv", "--masks", base / "masks", "--key", cohort.key,
                              "--out", out, "--json"))


@pytest.fixture(scope="session")
def predicted(cohort: Cohort, seg: Trained, lvray: Callable[..., Any]) -> Outcome:
    """The whole cohort."""
    out = cohort.shards.parent / "predicted"
    return Outcome(out, lvray("predict", cohort.src, "--checkpoint", seg.best, "--out", out, "--key", cohort.key,
                              "--max-rejects", "0.2", "--json"))
