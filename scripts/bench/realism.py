"""How like real hearts the phantoms are: the same measurements on phantom and Sunnybrook ED frames, side by side.

    python scripts/bench/realism.py --out realism.png

A table for people; the last line of stdout is one JSON object. Without ../shared/data/sunnybrook it ends with code 4.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pydicom
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes
from skimage.draw import polygon2mask
from skimage.filters import threshold_otsu
from skimage.io import imread
from skimage.measure import label

from lvray.cmr.phantom.participant import frames, participant, truth
from lvray.cmr.phantom.people import PhantomOptions

SUNNYBROOK = Path(__file__).parents[3] / "shared" / "data" / "sunnybrook"
WINDOW_MM = 60.0
"""Half width of what Otsu sees around the heart's centre."""
UNKNOWN_PIXEL_MM = 1.367
"""png8 has no pixel size; this one sets the window alone, never a thickness."""
QUANTITIES = {"blood_to_myocardium": "blood : myocardium", "myocardium_cov": "CoV of the myocardium",
              "wall_mm": "wall thickness, mm", "otsu_dice": "Otsu's cavity Dice"}


@dataclass(frozen=True)
class Frame:
    """One ED frame; polygons [N, 2] of (row, column) or None, pixel_mm None where unknown."""

    heart: str
    image: NDArray[np.float64]
    endo: NDArray[np.float64] | None
    epi: NDArray[np.float64] | None
    pixel_mm: float | None


def real_frames() -> list[Frame]:
    out = []
    with (SUNNYBROOK / "labels.csv").open() as table:
        patients = list(csv.DictReader(table))
    for patient in patients:
        name, dicom = patient["original_id"], patient["images"] == "dicom"
        outlines = SUNNYBROOK / ("contours" if dicom else "png8") / name
        for instance in map(int, patient["ed_instances"].split()):
            if dicom:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # these files hold UIDs with leading zeros
                    image = pydicom.dcmread(SUNNYBROOK / "dicom" / patient["cap_id"] / f"{instance}.dcm").pixel_array
            else:
                image = imread(outlines / f"{name}-IM-0001-{instance:04d}.dcm.png")[..., 0]
            files = [outlines / f"IM-0001-{instance:04d}-{side}contour-manual.txt" for side in "io"]
            endo, epi = (np.loadtxt(file)[:, ::-1] - 1 if file.exists() else None for file in files)
            out.append(Frame(name, image.astype(float), endo, epi, float(patient["pixel_mm"]) if dicom else None))
    return out


def phantom_frames(hearts: int, seed: int) -> list[Frame]:
    out = []
    for number in range(hearts):
        subject = participant(seed, number, PhantomOptions(phases=2, slices=11, rows=160, columns=160))
        for index, outline in enumerate(truth(subject).outlines):
            if outline is not None:
                image = frames(subject, index)[0].astype(float)
                endo = None if outline.endo is None else outline.endo[:, ::-1]
                out.append(Frame(f"phantom {number}", image, endo, outline.epi[:, ::-1], subject.scan.pixel_mm))
    return out


def measure(frame: Frame) -> dict[str, float]:
    """What can be measured on one frame, by the names of QUANTITIES."""
    found: dict[str, float] = {}
    if frame.endo is None:
        return found
    cavity = polygon2mask(frame.image.shape, frame.endo)
    found["otsu_dice"] = otsu_dice(frame, cavity)
    if frame.epi is not None:
        disc = polygon2mask(frame.image.shape, frame.epi)
        wall = frame.image[disc & ~cavity]
        found["blood_to_myocardium"] = frame.image[cavity].mean() / wall.mean()
        found["myocardium_cov"] = wall.std() / wall.mean()
        if frame.pixel_mm is not None:
            inner, outer = (np.sqrt(m.sum() / np.pi) for m in (cavity & disc, disc | cavity))
            found["wall_mm"] = (outer - inner) * frame.pixel_mm
    return found


def otsu_dice(frame: Frame, cavity: NDArray[np.bool_]) -> float:
    """Dice of the cavity with Otsu's bright component at (or nearest to) the cavity's centre, holes filled."""
    half = round(WINDOW_MM / (frame.pixel_mm or UNKNOWN_PIXEL_MM))
    middle = np.argwhere(cavity).mean(0).round().astype(int)
    top, left = np.maximum(middle - half, 0)
    window = (slice(top, middle[0] + half), slice(left, middle[1] + half))
    seen = frame.image[window]
    parts = label(seen > threshold_otsu(seen))
    bright = np.argwhere(parts)
    nearest = bright[((bright - middle + [top, left]) ** 2).sum(1).argmin()]
    blob = binary_fill_holes(parts == parts[tuple(nearest)])
    return float(2 * (blob & cavity[window]).sum() / (blob.sum() + cavity.sum()))


def by_heart(all_frames: list[Frame]) -> dict[str, list[float]]:
    """Each quantity's median over a heart's frames, for every heart that has it; wall thickness is kept by slice."""
    hearts: dict[str, list[dict[str, float]]] = {}
    for frame in all_frames:
        hearts.setdefault(frame.heart, []).append(measure(frame))
    out: dict[str, list[float]] = {name: [] for name in QUANTITIES}
    for found in hearts.values():
        for name, values in out.items():
            here = [f[name] for f in found if name in f]
            values += here if name == "wall_mm" else [float(np.median(here))] if here else []
    return out


def compared(real: list[Frame], phantom: list[Frame]) -> dict[str, Any]:
    """{"median_low_high": {quantity: {"real": [median, lowest, highest], "phantom": ...}}, and the two verdicts}"""
    both = {"real": by_heart(real), "phantom": by_heart(phantom)}
    found = {name: {kind: [round(float(v), 3) for v in np.percentile(values[name], [50, 0, 100])]
                    for kind, values in both.items()} for name in QUANTITIES}
    inside = {name: r["real"][1] <= r["phantom"][0] <= r["real"][2] for name, r in found.items()}
    otsu = found["otsu_dice"]
    return {"median_low_high": found, "medians_inside": inside,
            "otsu_no_better_on_phantoms": otsu["phantom"][0] <= otsu["real"][0]}


def sheet(real: list[Frame], phantom: list[Frame], out: Path, hearts: int = 6) -> None:
    """Base, middle and apex of the first hearts of each kind, all at the same scale, with outlines on the middle."""
    figure, axes = plt.subplots(hearts, 6, figsize=(12, 2 * hearts), layout="compressed")
    for side, some in enumerate((real, phantom)):
        for row, name in enumerate(list(dict.fromkeys(f.heart for f in some))[:hearts]):
            stack = [f for f in some if f.heart == name]
            picks = (stack[0], stack[len(stack) // 2], stack[-1])
            for column, frame in enumerate(picks):
                _show(axes[row, 3 * side + column], frame, outlined=column == 1)
            axes[row, 3 * side].set_title(name, fontsize=7, loc="left")
    figure.savefig(out, dpi=100)
    plt.close(figure)


def _show(axis: Axes, frame: Frame, outlined: bool) -> None:
    border = frame.endo if frame.endo is not None else frame.epi
    row, column = border.mean(0) if border is not None else np.array(frame.image.shape) / 2
    half = 70 / (frame.pixel_mm or UNKNOWN_PIXEL_MM)
    near = frame.image[max(int(row - half), 0):int(row + half), max(int(column - half), 0):int(column + half)]
    axis.imshow(frame.image, cmap="gray", vmin=0, vmax=np.percentile(near, 97))
    for polygon, colour in ((frame.endo, "tab:cyan"), (frame.epi, "tab:orange")):
        if outlined and polygon is not None:
            axis.plot(*polygon[:, ::-1].T, color=colour, linewidth=0.7)
    axis.set(xlim=(column - half, column + half), ylim=(row + half, row - half), xticks=[], yticks=[])
    axis.set_facecolor("black")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("realism.png"), help="the sheet of both, side by side")
    parser.add_argument("--hearts", type=int, default=24, help="phantoms to measure")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not SUNNYBROOK.is_dir():
        print("no Sunnybrook frames to compare with: ../shared/data/sunnybrook is absent", file=sys.stderr)
        return 4
    matplotlib.use("Agg")
    real, phantom = real_frames(), phantom_frames(args.hearts, args.seed)
    sheet(real, phantom, args.out)
    found = compared(real, phantom)
    print(f"{'median (lowest to highest)':<28}{'real':>24}{'phantom':>24}")
    for name, words in QUANTITIES.items():
        cells = ["{:.2f} ({:.2f} to {:.2f})".format(*figures) for figures in found["median_low_high"][name].values()]
        print(f"{words:<28}{cells[0]:>24}{cells[1]:>24}")
    print(json.dumps({**found, "hearts": args.hearts, "seed": args.seed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
