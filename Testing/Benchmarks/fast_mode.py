"""What fast mode (`segment --fast`) costs in accuracy and saves in time, on labelled data.

    python Testing/Benchmarks/fast_mode.py BUNDLE imagesTr labelsTr [--cases run/metrics.json]
    python Testing/Benchmarks/fast_mode.py phantom-tiny --phantoms 5

Every case is segmented plainly and fast, in turn, in one process. Prints JSON: mean Dice and HD95 over all labels and
cases (as `DinoUNetCore.evaluate` has them), slices that went through the network, seconds, and their ratios.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import SimpleITK as sitk
import torch

from DinoUNetCore.dataset.phantom import PHANTOM_LABELS, make_phantom
from DinoUNetCore.evaluate import find_pairs
from DinoUNetCore.files import read_json
from DinoUNetCore.inference.cases import find_cases
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.metrics import evaluate_case, mean, summarise
from DinoUNetCore.volume.reading import read_label_map, read_volume
from DinoUNetCore.volume.volume import Volume
from DinoUNetCore.weights.bundle import ModelBundle
from DinoUNetCore.weights.bundle_reading import load_bundle

Case = tuple[str, Volume, sitk.Image]
"""Name, image and reference."""

FIRST_PHANTOM = 1000  # the embedded model was trained on seeds far below


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a bundle")
    parser.add_argument("images", type=Path, nargs="?", help="folder of images (nnU-Net's imagesTr)")
    parser.add_argument("labels", type=Path, nargs="?", help="folder of label maps (labelsTr)")
    parser.add_argument("--cases", type=Path, help="only the cases of this metrics.json of a training")
    parser.add_argument("--phantoms", type=int, default=0, metavar="N", help="N drawn CTs instead of a folder")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    if not options.phantoms and options.labels is None:
        parser.error("name the folders of images and of labels, or give --phantoms")
    bundle = load_bundle(options.model)
    segmenters = {
        mode: Segmenter(bundle, options.device, fast=mode == "fast", threads=options.threads)
        for mode in ("plain", "fast")
    }
    cases = phantoms(bundle, options.phantoms) if options.phantoms else labelled(bundle, options)
    measured = compare(segmenters, cases)
    if not measured["cases"]:
        parser.error("none of the images has a label map of its name; name folders of the same cases")
    report = {
        "model": bundle.name,
        "device": str(segmenters["plain"].device),
        "threads": torch.get_num_threads(),
        **measured,
    }
    text = json.dumps(report, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


def phantoms(bundle: ModelBundle, count: int) -> Iterator[Case]:
    values = {label.name: label.value for label in bundle.labels}
    for seed in range(FIRST_PHANTOM, FIRST_PHANTOM + count):
        image, truth = make_phantom(seed)
        truth = sitk.ChangeLabel(truth, {value: values.get(name, 0) for name, value in PHANTOM_LABELS.items()})
        yield f"phantom {seed}", Volume.from_images([image], f"phantom {seed}"), truth


def labelled(bundle: ModelBundle, options: argparse.Namespace) -> Iterator[Case]:
    wanted = read_json(options.cases)["cases"] if options.cases else None
    pairs = find_pairs(options.labels, options.labels)
    for case in find_cases([options.images], len(bundle.channel_names)):
        if case.name in pairs and (wanted is None or case.name in wanted):
            yield case.name, read_volume(case.files, unit=bundle.unit), read_label_map(pairs[case.name][1])


def compare(segmenters: Mapping[str, Segmenter], cases: Iterator[Case]) -> dict[str, Any]:
    """Results per mode, and how they differ from the first one's: None where no case has a label to measure."""
    measured: dict[str, dict[str, dict]] = {mode: {} for mode in segmenters}
    slices, seconds = dict.fromkeys(segmenters, 0), dict.fromkeys(segmenters, 0.0)
    for number, (name, volume, truth) in enumerate(cases):
        for mode, segmenter in segmenters.items():
            if number == 0:
                segmenter.segment(volume)  # the first pass of a process takes longer
            progress: list[tuple[int, int]] = []
            started = time.perf_counter()
            labels = segmenter.segment(volume, lambda *numbers, seen=progress: seen.append(numbers))
            seconds[mode] += time.perf_counter() - started
            slices[mode] += progress[-1][1]
            measured[mode][name] = evaluate_case(
                sitk.GetArrayViewFromImage(labels),
                sitk.GetArrayViewFromImage(truth),
                truth.GetSpacing()[::-1],
                {label.name: label.value for label in segmenter.bundle.labels},
            )
    modes = {
        mode: {
            **{metric: _rounded(summarise(results)["mean"][metric], 4) for metric in ("dice", "hd95")},
            "slices": slices[mode],
            "seconds": round(seconds[mode], 2),
        }
        for mode, results in measured.items()
    }
    first, *others = modes
    return {
        "cases": list(measured[first]),
        "modes": modes,
        f"against {first}": {
            mode: {
                "dice": _rounded(_difference(modes[mode]["dice"], modes[first]["dice"]), 4),
                "dice_of_worst_case": _rounded(min(_differences(measured[mode], measured[first]), default=None), 4),
                "slices": _rounded(slices[mode] / slices[first] if slices[first] else None, 3),
                "seconds": _rounded(seconds[mode] / seconds[first] if seconds[first] else None, 3),
            }
            for mode in others
        },
    }


def _differences(results: Mapping[str, dict], others: Mapping[str, dict]) -> Iterator[float]:
    """In every case's Dice, where both have any of the labels."""
    for name, case in results.items():
        difference = _difference(*(mean(label["dice"] for label in labels.values()) for labels in (case, others[name])))
        if difference is not None:
            yield difference


def _difference(number: float | None, other: float | None) -> float | None:
    return None if number is None or other is None else number - other


def _rounded(number: float | None, digits: int) -> float | None:
    return None if number is None else round(number, digits)


if __name__ == "__main__":
    main()
