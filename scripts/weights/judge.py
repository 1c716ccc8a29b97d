"""How well a segmenter draws hearts that it was not trained on.

    python -m scripts.weights.judge --data SHARDS [--ablate]
    python -m scripts.weights.judge --trust MANY --seed SEED --data SHARDS
    python -m scripts.weights.judge --turns MANY --seed SEED
    python -m scripts.weights.judge --seconds ZIP
    python -m scripts.weights.judge --checkpoint URI --real --why TEXT [--pictures FOLDER]

--checkpoint: its URI; without it lvray's own weights. --data: the holdout of a data set of generated hearts, whose
masks are exact. --ablate: without each part of what surrounds the network, too. --trust: how often wrong studies
(wrong.py) and good ones are called not trustworthy, so many of each kind. --turns: how far the grams change when
phantoms and the Sunnybrook studies are turned or mirrored in their plane (turn.py). --real: the seven Sunnybrook
patients with an epicardium; every such look is noted in LOOKS.md, with what has changed since the last one (--why).
Tables for people; the last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lvray.cmr.archive import zip_members
from lvray.cmr.geometry import tilt
from lvray.cmr.mass import CAVITY, MYOCARDIUM, Spacing, grams
from lvray.cmr.quality import mask_flags, trust_flags
from lvray.cmr.study import read_cine
from lvray.estimate import predict
from lvray.jobs.estimates import fetch
from lvray.nets.predict import Predictor
from lvray.nets.trained import Drawn
from lvray.shards.dataset import open_dataset, select
from lvray.shards.schema import Row
from lvray.shards.stream import scan
from lvray.weights.own import DEFAULT, located
from scripts.weights.patients import FOLDER, Patient, patients
from scripts.weights.trust import counted, good_ones, wrong_ones
from scripts.weights.turn import changes

LOOKS = Path(__file__).parent / "LOOKS.md"
THIRDS = ("base", "middle", "apex")
AS_IT_IS, IMAGES_AXES, ALL_PIECES = "as it is", "along the image's axes", "all pieces"


@dataclass(frozen=True)
class Case:
    """A heart. error: of the mass, as a share of the true one, over the true mask's slices; error_all: over all slices.
    wall_base ...: Dice of the wall in thirds of the slices that have one. flagged: called not trustworthy, by the mask
    and by how far the views agree."""

    name: str
    cavity: float
    wall: float
    error: float
    error_all: float
    agreement: float | None
    flagged: bool
    wall_base: float
    wall_middle: float
    wall_apex: float


def judged(name: str, drawn: Drawn, truth: NDArray[np.uint8], spacing: Spacing) -> Case:
    mask = drawn.mask
    slices = np.flatnonzero((truth > 0).any((1, 2)))
    inside, true = mask[slices], truth[slices]
    wall = (true == MYOCARDIUM).sum()
    thirds = [dice(inside[part], true[part], MYOCARDIUM) for part in np.array_split(np.arange(len(slices)), 3)]
    flagged = bool(trust_flags(mask_flags(mask, grams(mask, spacing)), drawn.agreement))
    return Case(name, dice(inside, true, CAVITY), dice(inside, true, MYOCARDIUM),
                float((inside == MYOCARDIUM).sum() / wall - 1), float((mask == MYOCARDIUM).sum() / wall - 1),
                drawn.agreement, flagged, *thirds)


def dice(one: NDArray[np.uint8], other: NDArray[np.uint8], label: int) -> float:
    both = (one == label).sum() + (other == label).sum()
    return float(2 * ((one == label) & (other == label)).sum() / both) if both else 1.0


def ways(predictor: Predictor) -> dict[str, Predictor]:
    """Without each part of what surrounds the network, or with more of it; see `drawn_by` for the last two."""
    return {**{f"{views} views": with_network(predictor, views=views) for views in (1, 2, 8)},
            "the image's middle": with_network(predictor, centre="image"),
            IMAGES_AXES: predictor, ALL_PIECES: predictor}


def drawn_by(way: str, predictor: Predictor, row: Row | Patient) -> Drawn:
    centre = row.heart_yx if isinstance(row, Row) else row.centre_yx
    with patch("lvray.nets.predict.keep_largest", lambda mask: mask) if way == ALL_PIECES else nullcontext():
        return predictor.segment(row.image, row.spacing, centre, 0.0 if way == IMAGES_AXES else tilt(row.affine))


def generated(way: str, predictor: Predictor, data: str) -> list[Case]:
    dataset = open_dataset(data)
    found = []
    for number, row in scan(dataset, select(dataset, ["holdout"])):
        drawn = drawn_by(way, predictor, row)
        assert row.mask is not None
        found.append(judged(str(number), drawn, row.mask, row.spacing))
    return found


def summary(cases: Iterable[Case]) -> dict[str, Any]:
    """Medians (and the worst tenth) of Dice, the mass's median absolute error, its bias, and shares beyond 25 %."""
    cases = list(cases)
    error = np.array([case.error_all for case in cases])
    found: dict[str, Any] = {"n": len(cases), "flagged": sum(case.flagged for case in cases)}
    for name in ("cavity", "wall", *(f"wall_{third}" for third in THIRDS)):
        values = [getattr(case, name) for case in cases]
        found[name] = {"median": float(np.median(values)), "tenth": float(np.quantile(values, 0.1))}
    return found | {"mass_error": {"median_absolute": float(np.median(np.abs(error))), "bias": float(error.mean()),
                                   "beyond_25": int((np.abs(error) > 0.25).sum())}}


def real(cases: Iterable[Case]) -> dict[str, Any]:
    """Of patients: their masses over the slices that the expert outlined."""
    return summary(replace(case, error_all=case.error) for case in cases)


def line(what: str, found: dict[str, Any]) -> str:
    thirds = ", ".join(f"{found[f'wall_{third}']['median']:.3f}" for third in THIRDS)
    error = found["mass_error"]
    return (f"{what:28} n {found['n']:4}  cavity {found['cavity']['median']:.3f} ({found['cavity']['tenth']:.3f})  wall"
            f" {found['wall']['median']:.3f} ({found['wall']['tenth']:.3f}; {thirds})  mass: median absolute error"
            f" {error['median_absolute']:.1%}, bias {error['bias']:+.1%}, {error['beyond_25']} beyond 25 %;"
            f" {found['flagged']} not trustworthy")


def with_network(predictor: Predictor, **changes: Any) -> Predictor:
    """The same weights with other settings of the network around them."""
    saved = predictor.checkpoint
    settings = {**saved.settings, "network": {**predictor.network, **changes}}
    return replace(predictor, checkpoint=replace(saved, settings=settings))


def one_of(predictor: Predictor, patient: Patient, pictures: Path | None) -> Case:
    """A real patient: judged, told and, if asked, drawn."""
    drawn = drawn_by(AS_IT_IS, predictor, patient)
    case = judged(patient.name, drawn, patient.mask, patient.spacing)
    text = "" if patient.grams is None else (
        f"; {grams(drawn.mask[patient.outlined], patient.spacing):.0f} g where the expert has {patient.grams:.0f},"
        f" {grams(drawn.mask, patient.spacing):.0f} g in all {len(drawn.mask)} slices")
    print(f"{patient.name:12} {patient.pathology:28} cavity {case.cavity:.3f}  wall {case.wall:.3f}"
          f" ({case.wall_base:.3f}, {case.wall_middle:.3f}, {case.wall_apex:.3f})  mass {case.error:+.1%}"
          f"  agreement {case.agreement or float('nan'):.2f}"
          f"{', not trustworthy' if case.flagged else ''}{text}", flush=True)
    if pictures is not None:
        picture(pictures, patient, drawn.mask)
    return case


def picture(folder: Path, patient: Patient, mask: NDArray[np.uint8]) -> None:
    """Both outlines on every slice: the expert's green, the network's red."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = 6
    figure = Figure(figsize=(3 * columns, 3 * -(-len(mask) // columns)), layout="constrained")
    y, x = patient.centre_yx or (0, 0)
    half = 75 / patient.spacing[1]
    for k, axes in enumerate(np.atleast_1d(figure.subplots(-(-len(mask) // columns), columns)).flat):
        axes.set_axis_off()
        if k < len(mask):
            axes.imshow(patient.image[k], cmap="gray")
            for drawn, colour in ((patient.mask[k], "lime"), (mask[k], "red")):
                for label in (CAVITY, MYOCARDIUM):
                    if (drawn >= label).any():
                        level = drawn > 0 if label == MYOCARDIUM else drawn == CAVITY
                        axes.contour(level, [0.5], colors=colour, linewidths=0.8)
            axes.set_xlim(x - half, x + half)
            axes.set_ylim(y + half, y - half)
    figure.savefig(folder / f"{patient.name}.png", dpi=70)


def seconds(predictor: Predictor, zipped: bytes) -> list[float]:
    """Of five times from the bytes of a zip to an estimate."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        predict(read_cine(zip_members(io.BytesIO(zipped))), predictor)
        taken.append(time.perf_counter() - began)
    return taken


def apart(changed: Iterable[tuple[str, float]]) -> dict[str, Any]:
    """Of each study, or kind of them: the changes of its grams, and how many are within 2 %."""
    kinds: dict[str, list[float]] = defaultdict(list)
    for kind, change in changed:
        kinds[kind].append(abs(change))
    for kind, shares in kinds.items():
        print(f"{kind:12} turned: {sum(share <= 0.02 for share in shares)} of {len(shares)} within 2 % of the grams;"
              f" median {np.median(shares):.2%}, greatest {max(shares):.2%}")
    return kinds


def note(predictor: Predictor, found: dict[str, Any], cases: list[Case], why: str) -> None:
    """A look at the real patients, added to LOOKS.md."""
    commit = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True,
                            cwd=LOOKS.parent).stdout.strip()
    each = "; ".join(f"{case.name} {case.cavity:.3f} {case.wall:.3f} {case.error:+.1%}" for case in cases)
    with LOOKS.open("a") as log:
        log.write(f"\n- {date.today()}, code {commit}, weights {predictor.weights_sha256[:16]}: {why}\n"
                  f"  Median cavity {found['cavity']['median']:.3f}, wall {found['wall']['median']:.3f}, |mass error|"
                  f" {found['mass_error']['median_absolute']:.1%}. Each (cavity, wall, mass): {each}.\n")


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--checkpoint", default=DEFAULT)
    asked.add_argument("--data")
    asked.add_argument("--ablate", action="store_true")
    asked.add_argument("--trust", type=int, metavar="MANY")
    asked.add_argument("--turns", type=int, metavar="MANY")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--seconds", type=Path, metavar="ZIP")
    asked.add_argument("--real", action="store_true")
    asked.add_argument("--why")
    asked.add_argument("--pictures", type=Path)
    args = asked.parse_args()
    predictor = fetch(located(args.checkpoint))
    found: dict[str, Any] = {"weights_sha256": predictor.weights_sha256}
    if args.seconds:
        found["seconds"] = seconds(predictor, args.seconds.read_bytes())
        print(f"from the zip to grams, the network loaded: {', '.join(f'{s:.2f}' for s in found['seconds'])} s")
    if args.turns:
        found["turns"] = apart(changes(predictor, args.seed, args.turns))
    if args.trust:
        found["trust"] = {}
        for what, ones in (("wrong", wrong_ones), ("good", good_ones)):
            found["trust"][what] = counted(ones(predictor, args.seed, args.trust, args.data))
            for kind, count in found["trust"][what].items():
                low, high = count["interval"]
                spread = ", ".join(f"{q:.2f}" for q in count["agreement"] or ())
                print(f"{what:6} {kind:24} {count['flagged']:4} of {count['n']:4} flagged or refused (95 % interval"
                      f" {low:.1%} to {high:.1%}); agreement, lowest, 5 %, 50 %, 95 %, highest: {spread}")
    elif args.data:
        for way, changed in {AS_IT_IS: predictor, **(ways(predictor) if args.ablate else {})}.items():
            found[way] = summary(generated(way, changed, args.data))
            print(line(way, found[way]), flush=True)
    if args.real:
        if not args.why:
            asked.error("--real: every look is noted: say --why")
        if not FOLDER.exists():
            print("the Sunnybrook patients are not here", file=sys.stderr)
            return 4
        if predictor.checkpoint.settings["start"] is not None:
            asked.error("--real: weights that went on from others may have seen these patients: leave_one_out.py")
        cases = [one_of(predictor, patient, args.pictures) for patient in patients()]
        found["real"] = real(cases)
        print(line("real patients", found["real"]))
        found["each"] = [asdict(case) for case in cases]
        note(predictor, found["real"], cases, args.why)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
