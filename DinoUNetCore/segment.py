"""Segment images with a trained model: python -m DinoUNetCore.segment -m BUNDLE -i FILE_OR_FOLDER -o FILE_OR_FOLDER."""

import sys
import time
from argparse import ArgumentTypeError, BooleanOptionalAction, HelpFormatter, Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from DinoUNetCore.command_line import Parser, add_license_option, run, with_license
from DinoUNetCore.durations import in_words
from DinoUNetCore.errors import UserError
from DinoUNetCore.planning_options import plane_names

if TYPE_CHECKING:
    import SimpleITK as sitk

    from DinoUNetCore.inference.cases import InputCase
    from DinoUNetCore.inference.segmenter import Segmenter
    from DinoUNetCore.training.processes import Processes
    from DinoUNetCore.volume.labels import Label
    from DinoUNetCore.weights.bundle import ModelBundle

LONG = 30.0  # seconds; a run on a CPU that takes longer is announced


def main(arguments: Sequence[str] | None = None) -> None:
    """Segment as the command line says; the processes that torchrun has started share the cases."""
    options = _parse(arguments)

    from DinoUNetCore.training.processes import joined

    with joined() as processes:
        _segment(options, processes)


def _segment(options: Namespace, processes: "Processes") -> None:
    from DinoUNetCore.inference.segmenter import Segmenter
    from DinoUNetCore.training.processes import AgreedError
    from DinoUNetCore.weights.bundle_reading import load_bundle

    processes.choose_device(options.device)  # a mistyped device is told before anything is read
    bundle = processes.first_goes_ahead(lambda: load_bundle(options.model, options.backbone))
    count, waiting = processes.first_decides(lambda: _find(bundle, options))
    if not waiting:
        return
    make_segmenter = partial(
        Segmenter,
        bundle,
        options.device,
        batch_size=options.batch_size,
        mirror=options.mirror,
        planes=options.planes,
        keep_largest=options.keep_largest,
        threads=options.threads,
        precision=options.precision,
        say=_warn if processes.first else _silent,
    )
    segmenter = processes.first_goes_ahead(lambda: with_license(make_segmenter, options.accept_dinov3_license))
    failures = []
    for case, output in processes.share(waiting):
        try:
            _segment_case(segmenter, case, output, options)
        except UserError as error:
            failures.append(str(error))
            if count > 1:
                _write(f"error: {error}", sys.stderr)
    # torchrun ends all processes as soon as one has failed, so they come here together
    failures = [sentence for part in processes.gather(failures) for sentence in part]
    if failures:
        sentence = f"{len(failures)} of {count} cases could not be segmented; the lines above say why."
        raise AgreedError(failures[0] if count == 1 else sentence)


def _find(bundle: "ModelBundle", options: Namespace) -> tuple[int, list[tuple["InputCase", Path]]]:
    """The number of all cases; those whose label map is not there yet, with its file. Says what a user should know."""
    from DinoUNetCore.inference.cases import check_writable, choose_outputs, find_cases

    cases = find_cases(options.input, len(bundle.channel_names))
    outputs = choose_outputs(cases, options.input, options.output, options.format)
    if options.probabilities is not None:
        check_writable(options.probabilities)
    waiting = []
    for case, output in zip(cases, outputs, strict=True):
        if existing := _existing(output, options):
            _say(f"{case.name}: {existing} exists already and is kept; add --overwrite to make it again.")
        else:
            waiting.append((case, output))
    if waiting and options.mirror and not bundle.mirror:
        _warn(f"{bundle.name} was trained without mirroring, so --mirror has no effect.")
    if waiting and options.backbone is not None and bundle.stores_backbone:
        _warn(f"{bundle.name} holds its own backbone, so --backbone has no effect.")
    return len(cases), waiting


def _segment_case(segmenter: "Segmenter", case: "InputCase", output: Path, options: Namespace) -> None:
    from DinoUNetCore.inference.cases import as_volume_file
    from DinoUNetCore.inference.probabilities import ProbabilityFiles
    from DinoUNetCore.volume.reading import read_volume
    from DinoUNetCore.volume.writing import PICTURE_ENDINGS, ending_of, is_writable_ending, write_label_map

    started = time.monotonic()
    labels = segmenter.bundle.labels
    volume = segmenter.volume_of(read_volume(case.files, options.resample_channels, segmenter.bundle.unit))
    if not is_writable_ending(ending_of(output), volume.grid.dimension):
        if output.parent != options.output or options.format:
            raise UserError(
                f"{case.name} is a volume, which cannot be written to {output}; "
                "name a .nii.gz, .nrrd or .mha file, or use --format .nii.gz."
            )
        output = as_volume_file(output)
    if ending_of(output).lower() in PICTURE_ENDINGS and max(segmenter.bundle.label_values) > 65535:
        raise UserError(
            f"label values beyond 65535 do not fit into {output}; use --format .nii.gz or name such a file."
        )
    probabilities = None
    if options.probabilities is not None:
        probabilities = ProbabilityFiles(options.probabilities, case.name, labels, options.overwrite)
    for sentence in segmenter.cautions(volume):
        _warn(f"{case.name}: {sentence}")
    with _Progress(case.name, segmenter.device.type == "cpu") as progress:
        image = segmenter.segment(volume, progress, probabilities)
    del volume  # the writer needs its memory
    write_label_map(image, output, labels, overwrite=options.overwrite)
    sizes = summary(image, labels, segmenter.bundle.regions)
    _say(f"{case.name}: {output} ({time.monotonic() - started:.1f} s)\n{sizes}")


def summary(
    image: "sitk.Image", labels: Sequence["Label"], regions: Sequence[Sequence[int]] | None = None
) -> str:
    """A table of the labels that were found with their sizes, and the names of those that were not.

    regions: the values that make up each label, where they overlap.
    """
    from math import prod

    from DinoUNetCore.inference.postprocessing import count_voxels
    from DinoUNetCore.volume.volume import channel_arrays

    voxels = count_voxels(channel_arrays(image)[0])
    parts = regions or [[label.value] for label in labels]
    sizes = [sum(voxels.get(value, 0) for value in values) for values in parts]
    counts = {label.value: size for label, size in zip(labels, sizes, strict=True) if size}
    found = [label for label in labels if label.value in counts]
    width = max((len(label.name) for label in found), default=0)
    millilitres = prod(image.GetSpacing()) / 1000
    lines = []
    for label in found:
        count = counts[label.value]
        size = f"{count:>12,} voxels  {count * millilitres:>10,.1f} ml"
        if image.GetDimension() == 2:
            size = f"{count:>12,} pixels"
        lines.append(f"  {label.name:<{width}}  {size}")
    missing = [label.name for label in labels if label.value not in counts]
    if not found:
        lines.append("  nothing found: every voxel is background; is this image of the kind that the model knows?")
    elif missing:
        lines.append(f"  not found: {', '.join(missing)}")
    return "\n".join(lines)


def _existing(output: Path, options: Namespace) -> Path | None:
    """The file that already holds a case's result, if it is to be kept."""
    from DinoUNetCore.inference.cases import as_volume_file

    if options.overwrite:
        return None
    candidates = [output]
    if output.parent == options.output and options.format is None:
        candidates.append(as_volume_file(output))  # where a .tif that is a volume is written
    return next((path for path in candidates if path.exists()), None)


class _Progress:
    """A bar with the time left; on a CPU, a line with the expected time if it is long."""

    def __init__(self, title: str, announce: bool):
        self.title, self.announce = title, announce
        self.bar = None
        self.started = 0.0

    def __enter__(self) -> "_Progress":
        return self

    def __call__(self, done: int, total: int) -> None:
        if self.bar is None:
            from tqdm import tqdm

            self.started = time.monotonic()
            self.bar = tqdm(total=total, desc=self.title, unit="slice", leave=False, disable=None)
            return
        expected = (time.monotonic() - self.started) * total / max(done, 1)
        if self.announce and done:
            self.announce = False
            if expected > LONG and done < total:
                _write(f"{self.title}: this will take about {in_words(expected)} on this computer's CPU.", sys.stderr)
        self.bar.update(done - self.bar.n)

    def __exit__(self, *exception) -> None:
        if self.bar is not None:
            self.bar.close()


def _write(text: str, file) -> None:
    """A line above any bar, at once also into pipes."""
    from tqdm import tqdm

    tqdm.write(text, file=file)
    file.flush()


def _say(text: str) -> None:
    _write(text, sys.stdout)


def _warn(sentence: str) -> None:
    _write(f"warning: {sentence}", sys.stderr)


def _silent(sentence: str) -> None:
    """What all processes but the first say of the model: the same."""


def _parse(arguments: Sequence[str] | None) -> Namespace:
    parser = Parser(
        prog="python -m DinoUNetCore.segment",
        formatter_class=HelpFormatter,
        description="Segment images with a trained model. Label maps lie on exactly the grid of their image.",
    )
    parser.add_argument(
        "-m",
        "--model",
        required=True,
        metavar="BUNDLE",
        help="folder, zip, hf:OWNER/NAME, or the name of a built-in model",
    )
    parser.add_argument(
        "-i",
        "--input",
        required=True,
        type=Path,
        nargs="+",
        metavar="FILE_OR_FOLDER",
        help="an image, a DICOM folder, or a folder of images; several files are the channels of one image",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=Path,
        metavar="FILE_OR_FOLDER",
        help="label map (.seg.nrrd opens in 3D Slicer with names and colours), or a folder for one per image",
    )
    parser.add_argument(
        "--format", metavar="ENDING", type=_ending, help="of files in a folder (default: .nii.gz; pictures: .png)"
    )
    parser.add_argument(
        "--backbone", metavar="FILE", help="DINOv3 weights, for a model that does not hold them (default: from the hub)"
    )
    add_license_option(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    parser.add_argument("--mirror", action="store_true", help="average over mirror images: slower, often better")
    parser.add_argument(
        "--planes",
        type=plane_names,
        help="fuse only these planes of the model, such as axial,coronal (default: all). Fusing needs disk space in "
        "the system's temporary folder; name another by the environment variable TMPDIR (on Windows TEMP)",
    )
    parser.add_argument(
        "--keep-largest",
        action=BooleanOptionalAction,
        help="keep only the largest piece of each label (default: as the model says)",
    )
    parser.add_argument(
        "--probabilities",
        type=Path,
        metavar="FOLDER",
        help="also write each label's probability (.mha, 4 bytes a voxel)",
    )
    parser.add_argument("--resample-channels", action="store_true", help="bring all channels onto the first one's grid")
    parser.add_argument(
        "--batch-size", type=_positive_or_auto, default="auto", metavar="N", help="patches at once (default: auto)"
    )
    parser.add_argument("--threads", type=_positive, metavar="N", help="CPU threads (default: all)")
    parser.add_argument(
        "--precision", choices=("auto", "float32", "bfloat16", "float16"), default="auto", help="(default: auto)"
    )
    parser.add_argument("--overwrite", action="store_true", help="make outputs again that exist already")
    return parser.parse_args(arguments)


def _ending(text: str) -> str:
    return "." + text.lower().lstrip(".")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def _positive_or_auto(text: str) -> int | str:
    return text if text == "auto" else _positive(text)


if __name__ == "__main__":
    run(main)
