"""What segmenting a large CT takes: python Testing/Benchmarks/inference_pipeline.py [--variant small] [--slices 100]

Makes int16 .nii.gz volumes of 512 x 512 x N voxels and random bundles, and runs `python -m DinoUNetCore.segment` on
them, each time as a process of its own: all numbers of classes on the smallest volume, and the most classes on all
volumes. Prints JSON: per run its highest resident memory, its seconds, those of the pipeline (loading the model,
reading, resampling, network, writing) once the libraries are there, and those of the network in it; memory per further
class and voxel. Exit code 1 above a limit. With --side 64 the network sees smaller slices, so that minutes suffice for
memory; the ratio of pipeline and network is not judged then. Linux and macOS.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from child_process import ROOT, run_python

# This process imports neither numpy nor torch: a child's highest memory is never below its parent's at the fork.

SIDE = 512
LIMITS = {
    "peak_bytes": 3e9,
    "bytes_per_further_class": 1e6,
    "bytes_per_further_voxel": 7.0,
    "pipeline_by_network": 1.15,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="tiny", help="of the random network: tiny, small, ...")
    parser.add_argument("--slices", type=int, nargs="+", default=[100, 300], help="of the volumes")
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 20, 118], help="of the bundles, with background")
    parser.add_argument("--side", type=int, default=SIDE, help="rows and columns that the network sees of a slice")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--ending", default=".seg.nrrd", help="of the label map that is written")
    parser.add_argument("--extra", nargs="*", default=[], help="further options for segment, without their dashes")
    parser.add_argument("-o", "--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        report = measure(Path(temporary), options)
    text = json.dumps(report, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")
    return 0 if not report["above_limits"] else 1


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    most, all_slices = max(options.classes), sorted(set(options.slices))
    baseline, _ = run_python("-c", "import DinoUNetCore.segment, DinoUNetCore.inference.segmenter")
    runs = []
    for slices in all_slices:
        image = folder / f"{slices}.nii.gz"
        call("make_image", str(image), slices)
        for classes in sorted(set(options.classes)) if slices == all_slices[0] else [most]:
            bundle = folder / f"bundle-{classes}"
            if not bundle.exists():
                call("make_bundle", str(bundle), options.variant, classes, options.side)
            arguments = ["-m", str(bundle), "-i", str(image), "-o", str(folder / f"{slices}-{classes}{options.ending}")]
            arguments += ["--device", options.device, *(f"--{extra}" for extra in options.extra)]
            peak, seconds = call("segment", str(folder / "seconds.json"), arguments)
            parts = json.loads((folder / "seconds.json").read_text(encoding="utf-8"))
            run = {"slices": slices, "voxels": SIDE * SIDE * slices, "classes": classes, "peak_bytes": peak}
            run |= {"process_seconds": seconds, **parts}
            run["pipeline_by_network"] = round(parts["pipeline_seconds"] / parts["network_seconds"], 3)
            print(json.dumps(run), file=sys.stderr)
            runs.append(run)
        image.unlink()
    figures = {
        "peak_bytes": max(run["peak_bytes"] for run in runs),
        "bytes_per_further_class": growth([run for run in runs if run["slices"] == all_slices[0]], "classes"),
        "bytes_per_further_voxel": growth([run for run in runs if run["classes"] == most], "voxels"),
    }
    if options.side == SIDE:
        figures["pipeline_by_network"] = max(run["pipeline_by_network"] for run in runs)
    return {
        "slice_size": [SIDE, SIDE],
        "network_sees": [options.side, options.side],
        "variant": options.variant,
        "device": options.device,
        "options": options.extra,
        "import_baseline_bytes": baseline,
        "runs": runs,
        **figures,
        "limits": LIMITS,
        "above_limits": [name for name, value in figures.items() if value is not None and value > LIMITS[name]],
    }


def growth(runs: list[dict[str, Any]], of: str) -> float | None:
    """Bytes of peak memory for each further one, between the fewest and the most; None where there is one number."""
    fewest, most = min(runs, key=lambda run: run[of]), max(runs, key=lambda run: run[of])
    if fewest[of] == most[of]:
        return None
    return round((most["peak_bytes"] - fewest["peak_bytes"]) / (most[of] - fewest[of]), 2)


def make_bundle(folder: str, variant: str, classes: int, side: int) -> None:
    """A random network for axial CT. classes: with the background."""
    from DinoUNetCore.network.variants import VARIANTS

    sys.path.insert(0, str(ROOT / "Testing"))
    import random_bundle

    bundle = random_bundle.make_bundle(
        labels={f"label {number}": number for number in range(1, classes)},
        channels=("CT",),
        variant=VARIANTS[variant],
        patch_size=[side, side],
        spacing=[SIDE / side, SIDE / side],
        context_slices=3,
        normalization=[{"scheme": "ct", "low": -1000, "high": 1000, "mean": 0, "std": 300}],
        intensity_range=[[-1000, 1000]],
    )
    bundle.save(Path(folder))


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


def segment(times: str, arguments: list[str]) -> None:
    """The command itself, with its own seconds and the network's written to the file `times`."""
    import torch

    from DinoUNetCore import segment as command
    from DinoUNetCore.inference import segmenter  # noqa: F401 - what is loaded now takes no time below
    from DinoUNetCore.network.dino_unet import DinoUNet

    events, seconds = [], []

    def timed(step: Callable) -> Callable:
        """A method (network, x) that also notes how long it took; on a GPU by events, so that nothing waits for it."""

        def on_cpu(network: DinoUNet, x: torch.Tensor) -> torch.Tensor:
            begin = time.perf_counter()
            result = step(network, x)
            seconds.append(time.perf_counter() - begin)
            return result

        def on_gpu(network: DinoUNet, x: torch.Tensor) -> torch.Tensor:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            result = step(network, x)
            end.record()
            events.append((begin, end))
            return result

        return lambda network, x: (on_gpu if x.is_cuda else on_cpu)(network, x)

    DinoUNet.features, DinoUNet.head = timed(DinoUNet.features), timed(DinoUNet.head)
    started = time.perf_counter()
    command.main(arguments)
    pipeline = time.perf_counter() - started
    if events:
        torch.cuda.synchronize()
        seconds += [begin.elapsed_time(end) / 1000 for begin, end in events]
    parts = {"pipeline_seconds": round(pipeline, 2), "network_seconds": round(sum(seconds), 2)}
    Path(times).write_text(json.dumps(parts), encoding="utf-8")


def call(function: str, *arguments: Any) -> tuple[int, float]:
    """Call a function of this file in a process of its own."""
    return run_python("-c", f"import inference_pipeline; inference_pipeline.{function}(*{arguments!r})")


if __name__ == "__main__":
    sys.exit(main())
