"""A case of the command that segments: from its files to its label map, and what is said of it on the way."""

import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from DinoUNetCore.console import say, warn
from DinoUNetCore.errors import UserError
from DinoUNetCore.slice_progress import SliceProgress

if TYPE_CHECKING:  # nothing here loads torch before there is a case
    import SimpleITK as sitk

    from DinoUNetCore.inference.cases import InputCase
    from DinoUNetCore.inference.cpu_in_reserve import CpuInReserve
    from DinoUNetCore.inference.segmenter import Segmenter
    from DinoUNetCore.volume.volume import Volume

ROOM = 3.0  # times an image's size that must be free before it is read while another one is worked on


class SegmentCase:
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
            warn(f"{name}: {sentence}")

        def labelled(segmenter: "Segmenter") -> "sitk.Image":
            with SliceProgress(name, segmenter.device.type == "cpu") as progress:
                return segmenter.segment(volume, progress, probabilities)

        with self._timed():
            image = self._reserve.run(labelled)
        segmenter = self._reserve.segmenter
        self._how, self._provenance = _where(segmenter), provenance(segmenter, volume.resampled)
        return image

    def _output_for(self, volume: "Volume") -> Path:
        """The output, or a volume's file in place of a picture's. UserError where it cannot hold the labels."""
        from DinoUNetCore.inference.cases import as_volume_file
        from DinoUNetCore.volume.writing import PICTURE_ENDINGS, check_color_table, ending_of, is_writable_ending

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
        if not self._options.overwrite:
            check_color_table(output, self._bundle.labels)
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
                say(f"error: {error}", sys.stderr)

    def _write(self, image: "sitk.Image") -> None:
        from DinoUNetCore.inference.summary import summary
        from DinoUNetCore.memory import told_when_out_of_memory
        from DinoUNetCore.volume.writing import write_label_map

        bundle = self._bundle
        with self._timed(), told_when_out_of_memory(str(self._output)):
            write_label_map(image, self._output, bundle.labels, self._options.overwrite, self._provenance)
            sizes = summary(image, bundle.labels, bundle.regions)
        say(f"{self._case.name}: {self._output} ({self._seconds:.1f} s{self._how})\n{sizes}")

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
