"""Draw a phantom CT, segment it, measure and show the result, all offline: python -m DinoUNetCore.demo."""

import math
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from DinoUNetCore.command_line import Parser, run
from DinoUNetCore.dataset.phantom import PHANTOM_LABELS, make_phantom
from DinoUNetCore.errors import UserError
from DinoUNetCore.files import atomic_path, read_json, write_json
from DinoUNetCore.inference.provenance import provenance
from DinoUNetCore.metrics import evaluate_case, mean
from DinoUNetCore.overlay import OverlayRow, save_overlay
from DinoUNetCore.volume.geometry import PLANES, Slicing
from DinoUNetCore.volume.volume import Grid
from DinoUNetCore.volume.writing import write_label_map

Measures = dict[str, dict[str, float | None]]  # {organ: {"dice", "hd95" in mm, "ml_drawn", "ml_found"}}

MODEL = "phantom-tiny"
SEED = 1000  # the embedded model was trained on seeds far below
IMAGE, SEGMENTATION, PICTURE, RECORD = "image.nii.gz", "segmentation.seg.nrrd", "overlay.png", "demo.json"
WINDOW = (-160.0, 260.0)  # HU shown as black and white: soft tissue
AIR = -500.0  # HU; what is above is the body


def make_parser() -> Parser:
    parser = Parser(
        prog="python -m DinoUNetCore.demo",
        description="Draw a phantom CT of a torso, segment it, print the Dice per organ, and write the image, its "
        "segmentation (to open in 3D Slicer) and a picture. Takes less than a minute and needs no network.",
    )
    add = parser.add_argument
    add("-o", "--output", type=Path, default=Path("demo-output"), metavar="FOLDER", help="folder of the results")
    add("--seed", type=_whole_number, default=SEED, metavar="N", help="which patient to draw")
    add("--model", default=MODEL, metavar="BUNDLE", help="another model: its name, folder, zip or hf:owner/name")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    return parser


def _whole_number(text: str) -> int:
    seed = int(text)
    if seed < 0:
        raise ArgumentTypeError(f"{text} is below 0")
    return seed


def main(arguments: Sequence[str] | None = None) -> None:
    options = make_parser().parse_args(arguments)
    started = time.monotonic()
    for package in ("matplotlib", "scipy"):
        if find_spec(package) is None:
            raise UserError(f'{package} is not installed; run python -m pip install "dinounet-slicer[train]".')
    results = Results(options.output)
    demo(results, options.seed, options.model, options.device)
    print(
        f"\nDone in {time.monotonic() - started:.0f} seconds. In {options.output}:\n"
        f"  {PICTURE:<21}  the organs drawn and found: have a look\n"
        f"  {IMAGE:<21}  the phantom CT\n"
        f"  {SEGMENTATION:<21}  what the model found; open both in 3D Slicer"
    )


def demo(results: "Results", seed: int, model: str, device: str) -> None:
    """Draw, segment, measure, print, write."""
    from tqdm import tqdm

    from DinoUNetCore.inference.segmenter import Segmenter  # with torch, which --help does without
    from DinoUNetCore.weights.bundle_reading import load_bundle

    bundle = load_bundle(model)
    known = {label.name: label.value for label in bundle.labels if label.name in PHANTOM_LABELS}
    if not known:
        raise UserError(f"the model {model} knows none of the phantom's organs; choose one trained on phantoms.")
    segmenter = Segmenter(bundle, device)

    print(f"Drawing patient {seed} ...", flush=True)
    image, truth = make_phantom(seed)
    truth = sitk.ChangeLabel(truth, {PHANTOM_LABELS[name]: known.get(name, 0) for name in PHANTOM_LABELS})
    size, spacing = ("x".join(map(str, image.GetSize())), " x ".join(f"{s:.2f}" for s in image.GetSpacing()))
    print(f"Segmenting {size} voxels of {spacing} mm with {bundle.name} on {segmenter.device} ...", flush=True)
    begun = time.monotonic()
    with tqdm(unit="slice", leave=False, disable=None) as bar:
        found = segmenter.segment(image, progress=lambda done, total: _show(bar, done, total))
    seconds = time.monotonic() - begun

    measured = _measure(found, truth, known)
    mean_dice = mean(row["dice"] for row in measured.values())
    print(f"\n{_table(measured, mean_dice)}", flush=True)

    title = f"Phantom {seed}, segmented in {seconds:.0f} s"
    title += "" if mean_dice is None else f": mean Dice {mean_dice:.3f}"
    results.write(IMAGE, lambda path: _write_image(image, path))
    how = provenance(segmenter)
    results.write(SEGMENTATION, lambda path: write_label_map(found, path, bundle.labels, True, how))
    results.write(PICTURE, lambda path: save_overlay(path, _rows(image, truth, found), bundle.labels, title))
    results.finish({"seed": seed, "model": bundle.name, "mean_dice": mean_dice, "labels": measured})


class Results:
    """The demo's folder. It replaces files of an earlier demo, but never a file that is not as the demo left it.

    demo.json keeps the SHA-256 of what the demo wrote. UserError, before any work, if another file is in the way.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.written: dict[str, str] = {}
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file; name a folder for the results by -o.")
        if (folder / RECORD).exists():
            record = read_json(folder / RECORD)
            files = record.get("files") if isinstance(record, dict) else None
            if not isinstance(files, dict):
                raise UserError(f"{folder / RECORD} was not written by the demo; name another folder by -o.")
            self.written = files
        for name in (IMAGE, SEGMENTATION, PICTURE):
            self._check(name)

    def _check(self, name: str) -> None:
        path = self.folder / name
        if path.exists() and (not path.is_file() or _sha256(path) != self.written.get(name)):
            raise UserError(
                f"{path} exists and is not as the demo wrote it; move it away, or name another folder by -o."
            )

    def write(self, name: str, writer: Callable[[Path], None]) -> None:
        """Let `writer` write the file, and note it at once: a run that is ended here can be repeated."""
        writer(self.folder / name)
        self.written[name] = _sha256(self.folder / name)
        self.finish({})

    def finish(self, facts: dict[str, Any]) -> None:
        write_json(self.folder / RECORD, {**facts, "files": self.written})


def _sha256(path: Path) -> str:
    from DinoUNetCore.weights.tensors import file_sha256  # with torch, which --help does without

    return file_sha256(path)


def _show(bar: Any, done: int, total: int) -> None:
    bar.total = total
    bar.update(done - bar.n)


def _write_image(image: sitk.Image, path: Path) -> None:
    with atomic_path(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)


def _measure(found: sitk.Image, truth: sitk.Image, labels: dict[str, int]) -> Measures:
    arrays = [sitk.GetArrayViewFromImage(image) for image in (found, truth)]
    results = evaluate_case(*arrays, truth.GetSpacing()[::-1], labels)
    voxel = math.prod(truth.GetSpacing()) / 1000  # ml
    return {
        name: {
            "dice": result["dice"],
            "hd95": result["hd95"],
            "ml_drawn": round(result["reference_voxels"] * voxel, 2),
            "ml_found": round(result["prediction_voxels"] * voxel, 2),
        }
        for name, result in results.items()
    }


def _table(measured: Measures, mean_dice: float | None) -> str:
    width = max(len(name) for name in measured)
    lines = [f"{'organ':<{width}}   Dice  HD95 mm  drawn ml  found ml"]
    for name, row in measured.items():
        dice, hd95 = _number(row["dice"], ".3f"), _number(row["hd95"], ".1f")
        volumes = f"{row['ml_drawn']:>8.0f}  {row['ml_found']:>8.0f}"
        lines.append(f"{name.replace('_', ' '):<{width}}  {dice:>5}  {hd95:>7}  {volumes}")
    return "\n".join([*lines, f"{'mean':<{width}}  {_number(mean_dice, '.3f'):>5}"])


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _rows(image: sitk.Image, truth: sitk.Image, found: sitk.Image) -> list[OverlayRow]:
    """The axial, coronal and sagittal slice that show most, without the air around the body."""
    arrays = [sitk.GetArrayViewFromImage(one) for one in (image, truth, found)]
    rows = []
    for plane in PLANES:
        slicing = Slicing.of(Grid.of(image), plane)
        pixels, drawn, predicted = (slicing.cut(array) for array in arrays)
        index = _richest(drawn)
        body = np.nonzero(pixels[index] > AIR)
        block = (index, *(slice(max(int(places.min()) - 4, 0), int(places.max()) + 5) for places in body))
        title = f"{plane}, slice {index + 1} of {len(drawn)}"
        aspect = slicing.spacing[1] / slicing.spacing[2]
        rows.append(OverlayRow(title, pixels[block], drawn[block], predicted[block], aspect, WINDOW))
    return rows


def _richest(labels: np.ndarray) -> int:
    """The slice of (S, H, W) with most organs in it, large and small: the root gives small ones a say."""
    values = [value for value in np.unique(labels) if value]
    areas = np.array([[np.count_nonzero(one == value) for value in values] for one in labels]).reshape(len(labels), -1)
    return int(np.sqrt(areas).sum(axis=1).argmax())


if __name__ == "__main__":
    run(main)
