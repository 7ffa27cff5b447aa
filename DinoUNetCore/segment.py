"""Segment images with a trained model: python -m DinoUNetCore.segment -m BUNDLE -i FILE_OR_FOLDER -o FILE_OR_FOLDER."""

import sys
import time
from argparse import ArgumentTypeError, BooleanOptionalAction, HelpFormatter, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from DinoUNetCore.allocator import keep_freed_memory
from DinoUNetCore.command_line import Parser, add_license_option, run, with_license
from DinoUNetCore.durations import in_words
from DinoUNetCore.errors import UserError
from DinoUNetCore.planning_options import plane_names

if TYPE_CHECKING:
    import SimpleITK as sitk

    from DinoUNetCore.inference.cases import InputCase
    from DinoUNetCore.inference.cpu_in_reserve import CpuInReserve
    from DinoUNetCore.inference.segmenter import Segmenter
    from DinoUNetCore.training.processes import Processes
    from DinoUNetCore.volume.volume import Volume
    from DinoUNetCore.weights.bundle import ModelBundle

LONG = 30.0  # seconds; a run on a CPU that takes longer is announced
ROOM = 3.0  # times an image's size that must be free before it is read while another one is worked on


def main(arguments: Sequence[str] | None = None) -> None:
    """Segment as the command line says; the processes that torchrun has started share the cases."""
    options = _parse(arguments)

    from DinoUNetCore.training.processes import joined

    keep_freed_memory()
    with joined() as processes:
        _segment(options, processes)


def _segment(options: Namespace, processes: "Processes") -> None:
    from DinoUNetCore.inference.cpu_in_reserve import CpuInReserve
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
        say=_warn if processes.first else _silent,
    )

    def make(on_cpu: bool) -> Segmenter:
        made = partial(make_segmenter, options.device, precision=options.precision, max_memory=options.max_memory)
        if on_cpu:
            made = partial(make_segmenter, "cpu")
        return with_license(made, options.accept_dinov3_license)

    allowed = options.device == "auto"
    reserve = processes.first_goes_ahead(lambda: CpuInReserve(make, device, _warn, allowed))
    cases = [_Case(case, output, options, reserve, count == 1) for case, output in processes.share(waiting)]
    in_three_steps(cases, _Case.read, _Case.segment, _Case.write, _Case.has_room)
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
            _say(f"{case.name}: {existing} exists already and is kept; add --overwrite to make it again.")
        else:
            waiting.append((case, output))
    if waiting and options.mirror and not bundle.mirror:
        _warn(f"{bundle.name} was trained without mirroring, so --mirror has no effect.")
    if waiting and options.backbone is not None and bundle.stores_backbone:
        _warn(f"{bundle.name} holds its own backbone, so --backbone has no effect.")
    return len(cases), waiting


class _Case:
    """One image on its way to its label map. The three steps may run in three threads, one after the other."""

    def __init__(self, case: "InputCase", output: Path, options: Namespace, reserve: "CpuInReserve", alone: bool):
        """alone: whether there is no other one, so that its failure need not be told before the end."""
        self._case, self._output, self._options, self._reserve, self._alone = case, output, options, reserve, alone
        self._bundle = reserve.segmenter.bundle  # other threads must not ask the reserve, which may be handing over
        self._seconds = 0.0
        self._how, self._provenance = "", None
        self.failure: str | None = None

    def has_room(self) -> bool:
        """Whether it may be read while another one is worked on: also for labels, and what the writer needs."""
        import psutil

        from DinoUNetCore.volume.unpacked_size import unpacked_bytes

        return psutil.virtual_memory().available > ROOM * unpacked_bytes(self._case.files)

    def read(self) -> "Volume":
        from DinoUNetCore.memory import told_when_out_of_memory
        from DinoUNetCore.volume.reading import read_volume

        with self._timed(), told_when_out_of_memory(self._case.name):
            return read_volume(self._case.files, self._options.resample_channels, self._bundle.unit)

    def segment(self, volume: "Volume") -> "sitk.Image":
        """UserError where that cannot be, or the result could not be written."""
        from DinoUNetCore.inference.probabilities import ProbabilityFiles
        from DinoUNetCore.inference.provenance import provenance

        options, name = self._options, self._case.name
        volume = self._reserve.segmenter.volume_of(volume)
        self._output = self._output_for(volume)
        probabilities = None
        if options.probabilities is not None:
            probabilities = ProbabilityFiles(options.probabilities, name, self._bundle.labels, options.overwrite)
        for sentence in self._reserve.segmenter.cautions(volume):
            _warn(f"{name}: {sentence}")

        def labelled(segmenter: "Segmenter") -> "sitk.Image":
            with _Progress(name, segmenter.device.type == "cpu") as progress:
                return segmenter.segment(volume, progress, probabilities)

        with self._timed():
            image = self._reserve.run(labelled)
        self._how, self._provenance = _where(self._reserve.segmenter), provenance(self._reserve.segmenter)
        return image

    def _output_for(self, volume: "Volume") -> Path:
        """The output, or a volume's file in place of a picture's. UserError where it cannot hold the labels."""
        from DinoUNetCore.inference.cases import as_volume_file
        from DinoUNetCore.volume.writing import PICTURE_ENDINGS, ending_of, is_writable_ending

        output = self._output
        if not is_writable_ending(ending_of(output), volume.grid.dimension):
            if output.parent != self._options.output or self._options.format:
                raise UserError(
                    f"{self._case.name} is a volume, which cannot be written to {output}; "
                    "name a .nii.gz, .nrrd or .mha file, or use --format .nii.gz."
                )
            output = as_volume_file(output)
        if ending_of(output).lower() in PICTURE_ENDINGS and max(self._bundle.label_values) > 65535:
            raise UserError(
                f"label values beyond 65535 do not fit into {output}; use --format .nii.gz or name such a file."
            )
        return output

    def write(self, result: "sitk.Image | UserError") -> None:
        """Write the label map, and say so; or say why there is none."""
        try:
            if isinstance(result, UserError):
                raise result
            self._write(result)
        except UserError as error:
            self.failure = str(error)
            if not self._alone:
                _write(f"error: {error}", sys.stderr)

    def _write(self, image: "sitk.Image") -> None:
        from DinoUNetCore.inference.summary import summary
        from DinoUNetCore.memory import told_when_out_of_memory
        from DinoUNetCore.volume.writing import write_label_map

        bundle = self._bundle
        with self._timed(), told_when_out_of_memory(str(self._output)):
            write_label_map(image, self._output, bundle.labels, self._options.overwrite, self._provenance)
            sizes = summary(image, bundle.labels, bundle.regions)
        _say(f"{self._case.name}: {self._output} ({self._seconds:.1f} s{self._how})\n{sizes}")

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._seconds += time.monotonic() - started


def _where(segmenter: "Segmenter") -> str:
    """Device and precision, where they are not what everybody has."""
    from DinoUNetCore.inference.provenance import precision_name

    where = f"{segmenter.device.type}, {precision_name(segmenter)}"
    return "" if where == "cpu, float32" else f", {where}"


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
