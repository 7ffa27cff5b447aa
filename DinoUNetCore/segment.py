"""Segment images with a trained model: python -m DinoUNetCore.segment -m BUNDLE -i FILE_OR_FOLDER -o FILE_OR_FOLDER."""

from argparse import ArgumentTypeError, BooleanOptionalAction, HelpFormatter, Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from DinoUNetCore.allocator import keep_freed_memory
from DinoUNetCore.command_line import Parser, add_license_option, run, with_license
from DinoUNetCore.console import say, warn
from DinoUNetCore.planning_options import plane_names
from DinoUNetCore.segment_case import SegmentCase

if TYPE_CHECKING:
    from DinoUNetCore.inference.cases import InputCase
    from DinoUNetCore.training.processes import Processes
    from DinoUNetCore.weights.bundle import ModelBundle


def main(arguments: Sequence[str] | None = None) -> None:
    """Segment as the command line says; the processes that torchrun has started share the cases."""
    options = _parse(arguments)

    from DinoUNetCore.training.processes import joined

    keep_freed_memory()
    with joined() as processes:
        _segment(options, processes)


def _segment(options: Namespace, processes: "Processes") -> None:
    from DinoUNetCore.inference.cpu_in_reserve import CpuInReserve, precision_on_cpu
    from DinoUNetCore.inference.pipeline import in_three_steps
    from DinoUNetCore.inference.segmenter import Segmenter
    from DinoUNetCore.training.processes import AgreedError
    from DinoUNetCore.weights.bundle_reading import load_bundle

    device = processes.choose_device(options.device)  # a mistyped device is told before anything is read
    bundle = processes.first_goes_ahead(lambda: load_bundle(options.model, options.backbone))
    count, waiting = processes.first_decides(lambda: _find(bundle, options))
    if not waiting:
        return
    make_segmenter = partial(
        Segmenter,
        bundle,
        batch_size=options.batch_size,
        mirror=options.mirror,
        fast=options.fast,
        planes=options.planes,
        keep_largest=options.keep_largest,
        threads=options.threads,
        say=warn if processes.first else _silent,
    )

    def make(on_cpu: bool) -> Segmenter:
        made = partial(make_segmenter, options.device, precision=options.precision, max_memory=options.max_memory)
        if on_cpu:
            made = partial(make_segmenter, "cpu", precision=precision_on_cpu(options.precision))
        return with_license(made, options.accept_dinov3_license)

    allowed = options.device == "auto"
    reserve = processes.first_goes_ahead(lambda: CpuInReserve(make, device, warn, allowed))
    cases = [SegmentCase(case, output, options, reserve, count == 1) for case, output in processes.share(waiting)]
    in_three_steps(cases, SegmentCase.read, SegmentCase.segment, SegmentCase.write, SegmentCase.has_room)
    failures = [case.failure for case in cases if case.failure]
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
            say(f"{case.name}: {existing} exists already and is kept; add --overwrite to make it again.")
        else:
            waiting.append((case, output))
    if waiting and options.mirror and not bundle.mirror:
        warn(f"{bundle.name} was trained without mirroring, so --mirror has no effect.")
    if waiting and options.backbone is not None and bundle.stores_backbone:
        warn(f"{bundle.name} holds its own backbone, so --backbone has no effect.")
    return len(cases), waiting


def _existing(output: Path, options: Namespace) -> Path | None:
    """The file that already holds a case's result, if it is to be kept."""
    from DinoUNetCore.inference.cases import as_volume_file

    if options.overwrite:
        return None
    candidates = [output]
    if output.parent == options.output and options.format is None:
        candidates.append(as_volume_file(output))  # where a .tif that is a volume is written
    return next((path for path in candidates if path.exists()), None)


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
        "--fast",
        action="store_true",
        help="look at every second slice only: about half the time; it cost 0.005 of Dice where it was measured",
    )
    parser.add_argument(
        "--planes",
        type=plane_names,
        help="fuse only these planes of the model, such as axial,coronal (default: all; with --fast: the first). "
        "Fusing needs disk space in the system's temporary folder; name another by the environment variable TMPDIR (on "
        "Windows TEMP)",
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
    parser.add_argument(
        "--max-memory", type=_gigabytes, metavar="GB", help="of the GPU, at most (default: all that is free)"
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


def _gigabytes(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text} is not a number above 0")
    return number


def _positive_or_auto(text: str) -> int | str:
    return text if text == "auto" else _positive(text)


if __name__ == "__main__":
    run(main)
