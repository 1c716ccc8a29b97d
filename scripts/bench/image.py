"""How large the image is that scripts/image built, and what of it: its layers, and what lies in it.

    python -m scripts.bench.image [FOLDER, build/image] [--largest 12]

As files take room in it, MB of 10**6 bytes; gzip: of the layers as a registry keeps them. Needs root and buildah.
Tables on stdout, whose last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from tests.k8s.container import IMAGE, buildah, described, root

PACKAGES = "opt/lvray/lib/python3.11/site-packages"


def layers(folder: Path) -> list[dict[str, str | float]]:
    """MB of each that has files, base first: what made it, as it lies in the store, and gzipped."""
    image = described(folder)
    made = [step["created_by"] for step in image["history"] if not step.get("empty_layer")]
    with tempfile.TemporaryDirectory() as out:
        buildah(folder, "push", "--quiet", "--compression-format=gzip", IMAGE, f"oci:{out}:x")
        index = json.loads(Path(out, "index.json").read_text())["manifests"][0]["digest"]
        packed = json.loads(Path(out, "blobs", *index.split(":")).read_text())["layers"]
    assert len(made) == len(packed) == len(image["manifest"]["layers"])
    return [{"made": by, "mb": layer["size"] / 1e6, "gzip_mb": small["size"] / 1e6}
            for by, layer, small in zip(made, image["manifest"]["layers"], packed, strict=True)]


def sizes(under: Path) -> dict[str, float]:
    """MB of what stands in a folder, by name, the largest first."""
    told = subprocess.run(["du", "--one-file-system", "--apparent-size", "--block-size=1", "--summarize", "--",
                           *under.iterdir()], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = {Path(name).name: int(size) / 1e6 for size, name in (line.split("\t") for line in told.splitlines())}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("folder", nargs="?", type=Path, default=Path("build/image"))
    asked.add_argument("--largest", type=int, default=12)
    options = asked.parse_args()
    parts = layers(options.folder)
    with root(options.folder) as files:
        top, packages = sizes(files), sizes(files / PACKAGES)
        compiled = sum(file.stat().st_size for file in (files / PACKAGES).rglob("*.pyc")) / 1e6
    whole, packed = (sum(float(part[name]) for part in parts) for name in ("mb", "gzip_mb"))
    print(f"{'layer, MB':<70}{'':>8}{'gzip':>8}")
    for part in parts:
        line = str(part["made"]).rpartition("/bin/sh -c ")[2].removeprefix("#(nop) ")
        print(f"{line[:68]:<70}{part['mb']:>8.0f}{part['gzip_mb']:>8.0f}")
    print(f"{'all':<70}{whole:>8.0f}{packed:>8.0f}\n")
    for title, found in (("in /", top), (f"in /{PACKAGES}", packages)):
        print(f"{title}, MB: " + ", ".join(f"{name} {mb:.0f}" for name, mb in list(found.items())[:options.largest]))
    print(f"of them byte code: {compiled:.0f}")
    print(json.dumps({"mb": whole, "gzip_mb": packed, "layers": parts, "byte_code_mb": compiled,
                      "packages": dict(list(packages.items())[:options.largest])}))


if __name__ == "__main__":
    main()
