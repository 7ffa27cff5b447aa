"""Peak memory of segmenting a large CT with 20 classes: python Testing/Benchmarks/peak_memory.py [--full]

Makes int16 .nii.gz volumes of two sizes and a random bundle of the tiny variant, runs `python -m DinoUNetCore.segment`
on each as a process of its own and prints JSON with its highest resident memory and the bytes per further voxel. By
default the network sees 64x64 slices, so that minutes suffice; --full lets it see 512x512 ones. Linux and macOS.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# This process imports neither numpy nor torch: a child's highest memory is never below its parent's at the fork.

ROOT = Path(__file__).resolve().parents[2]
SIDE = 512
CLASSES = 20
LIMIT_BYTES, LIMIT_BYTES_PER_VOXEL = 2.5e9, 7.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=300, help="of the larger volume")
    parser.add_argument("--fewer", type=int, help="slices of the smaller volume (default: a third)")
    parser.add_argument("--full", action="store_true", help="the network sees 512x512 instead of 64x64 pixels")
    parser.add_argument("--ending", default=".seg.nrrd", help="of the label map that is written")
    parser.add_argument("--extra", nargs="*", default=[], help="further options for segment, without their dashes")
    parser.add_argument("-o", "--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    fewer = options.fewer or options.slices // 3
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _python(f"import peak_memory; peak_memory.make_bundle({str(folder)!r}, {options.full})")
        baseline, _ = _python("import DinoUNetCore.segment, DinoUNetCore.inference.segmenter")
        runs = []
        for slices in (fewer, options.slices):
            image = folder / f"{slices}.nii.gz"
            _python(f"import peak_memory; peak_memory.make_image({str(image)!r}, {slices})")
            peak, seconds = _measure(
                ["-m", "DinoUNetCore.segment", "-m", folder / "bundle", "-i", image]
                + ["-o", folder / f"{slices}-labels{options.ending}", "--device", "cpu"]
                + [f"--{extra}" for extra in options.extra]
            )
            image.unlink()
            runs.append({"slices": slices, "voxels": SIDE * SIDE * slices, "peak_bytes": peak, "seconds": seconds})
    growth = (runs[1]["peak_bytes"] - runs[0]["peak_bytes"]) / (runs[1]["voxels"] - runs[0]["voxels"])
    report = {
        "slice_size": [SIDE, SIDE],
        "classes": CLASSES,
        "variant": "tiny",
        "network_sees": [SIDE, SIDE] if options.full else [64, 64],
        "options": options.extra,
        "import_baseline_bytes": baseline,
        "runs": runs,
        "bytes_per_further_voxel": round(growth, 2),
        "limits": {"peak_bytes": LIMIT_BYTES, "bytes_per_further_voxel": LIMIT_BYTES_PER_VOXEL},
        "within_limits": runs[1]["peak_bytes"] <= LIMIT_BYTES and growth <= LIMIT_BYTES_PER_VOXEL,
    }
    text = json.dumps(report, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")
    return 0 if report["within_limits"] else 1


def make_bundle(folder: str, full: bool) -> None:
    """A random network of the tiny variant with 20 labels, for axial CT."""
    from DinoUNetCore.network.variants import VARIANTS

    sys.path.insert(0, str(ROOT / "Testing"))
    import random_bundle

    side = SIDE if full else 64
    bundle = random_bundle.make_bundle(
        labels={f"label {number}": number for number in range(1, CLASSES + 1)},
        channels=("CT",),
        variant=VARIANTS["tiny"],
        patch_size=[side, side],
        spacing=[SIDE / side, SIDE / side],
        context_slices=3,
        normalization=[{"scheme": "ct", "low": -1000, "high": 1000, "mean": 0, "std": 300}],
        intensity_range=[[-1000, 1000]],
    )
    bundle.save(Path(folder) / "bundle")


def make_image(path: str, slices: int) -> None:
    """A noisy ellipse in air, int16."""
    import numpy as np
    import SimpleITK as sitk

    random = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    body = np.where(x**2 / 0.7 + y**2 / 0.4 < 1, 40, -1000)
    array = np.empty((slices, SIDE, SIDE), np.int16)
    for plane in array:
        plane[:] = body + random.normal(0, 20, body.shape)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1, 1, 1))
    sitk.WriteImage(image, path, useCompression=True, compressionLevel=1)


def _python(code: str) -> tuple[int, float]:
    return _measure(["-c", code])


def _measure(arguments: list) -> tuple[int, float]:
    """Run Python with these arguments: (highest resident memory in bytes, seconds)."""
    paths = [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, *map(str, arguments)], env=environment, stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)  # this child's numbers alone
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"error: {arguments} ended with {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit, round(time.monotonic() - started, 1)


if __name__ == "__main__":
    sys.exit(main())
