"""Many images, one after the other: files, folders or volume nodes in, one segmentation file each out."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from DinoUNetCore.inference.cases import check_writable, find_cases
from DinoUNetCore.volume.endings import ENDINGS
from DinoUNetCore.volume.reading import read_volume
from DinoUNetCore.volume.volume import Grid
from DinoUNetCore.volume.writing import SEGMENTATION_ENDING, WRITABLE_ENDINGS, write_label_map
from DinoUNetCore.weights.library import file_name
from DinoUNetSlicerLib.errors import UserError
from DinoUNetSlicerLib.job import Order
from DinoUNetSlicerLib.models import Model
from DinoUNetSlicerLib.options import Options
from DinoUNetSlicerLib.segmenting import run
from DinoUNetSlicerLib.volumes import Channel, channels_of
from DinoUNetSlicerLib.wording import verdict


@dataclass(frozen=True)
class BatchItem:
    """One image. state: "done", "kept" (its output existed) or "failed". reason: why, in a sentence."""

    name: str
    output: Path | None
    state: str
    reason: str = ""


@dataclass
class BatchReport:
    """What became of all images."""

    items: list[BatchItem] = field(default_factory=list)

    def named(self, state: str) -> list[BatchItem]:
        return [item for item in self.items if item.state == state]

    @property
    def done(self) -> list[BatchItem]:
        return self.named("done")

    @property
    def kept(self) -> list[BatchItem]:
        return self.named("kept")

    @property
    def failed(self) -> list[BatchItem]:
        return self.named("failed")

    @property
    def exitCode(self) -> int:
        """For sys.exit: 0 if nothing failed, else 1."""
        return 1 if self.failed else 0

    def __str__(self) -> str:
        lines = [f"{len(self.done)} segmented, {len(self.kept)} kept, {len(self.failed)} failed"]
        return "\n".join(lines + [f"{item.name}: {item.reason}" for item in self.failed])


def segment_batch(
    inputs: Any,
    output_folder: str | os.PathLike,
    model: Model,
    options: Options,
    *,
    ending: str = SEGMENTATION_ENDING,
    overwrite: bool = False,
    on_progress: Callable[[int, int, str], None] = lambda *_: None,
) -> BatchReport:
    """Segment all inputs into output_folder/NAME + ending; an image that cannot be segmented does not stop the others.

    inputs: a path, a volume node, or a list of them. A folder stands for the images in it (see
    `DinoUNetCore.inference.cases.find_cases`). on_progress: called as (images finished, images in all, next name).
    UserError, before any work, for what concerns all: no input, an unknown ending, a folder that cannot be written to.
    """
    if ending not in WRITABLE_ENDINGS:
        raise UserError(f"files ending in {ending} cannot be written; choose one of {', '.join(WRITABLE_ENDINGS)}.")
    folder = Path(output_folder)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder for the results.")
    check_writable(folder)
    report = BatchReport()
    tasks = _tasks(inputs, model, report)
    if not tasks and not report.items:
        raise UserError("there is nothing to segment; give volume nodes, files or folders with images.")
    taken: set[str] = set()
    for number, (name, load) in enumerate(tasks):
        on_progress(number, len(tasks), name)
        output = folder / (name + ending)
        if name in taken:
            item = BatchItem(name, None, "failed", f"two images are called {name}; rename one of them.")
        elif output.exists() and not overwrite:
            item = BatchItem(name, output, "kept", f"{output} exists already")
        else:
            item = _segment(name, load, output, model, options, overwrite)
        taken.add(name)
        logging.info("%s: %s. %s", item.name, item.state, item.reason)
        report.items.append(item)
    on_progress(len(tasks), len(tasks), "")
    return report


Load = Callable[[], tuple[list[Channel], Grid]]
"""Reads one image when it is its turn."""


def _tasks(inputs: Any, model: Model, report: BatchReport) -> list[tuple[str, Load]]:
    """(name, how to load it) of all images; what is none goes into the report at once."""
    several = isinstance(inputs, Sequence) and not isinstance(inputs, str | os.PathLike)
    tasks: list[tuple[str, Load]] = []
    for entry in inputs if several else [inputs]:
        if not isinstance(entry, str | os.PathLike):
            if not hasattr(entry, "GetImageData"):
                raise UserError(f"{entry!r} is no volume node, file or folder; give what is to be segmented.")
            tasks.append((file_name(entry.GetName()), lambda node=entry: _from_node(node)))
            continue
        path = Path(entry)
        try:
            report.items += _strangers(path)
            cases = find_cases([path], len(model.channel_names))
        except UserError as error:
            report.items.append(BatchItem(path.name, None, "failed", str(error)))
        else:
            tasks += [(case.name, lambda files=case.files: _from_files(files, model.unit)) for case in cases]
    return tasks


def _strangers(path: Path) -> list[BatchItem]:
    """Files in a folder of images that are none: they are named, as an image may hide behind a wrong ending."""
    if not path.is_dir():
        return []
    files = sorted(entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
    known = [entry for entry in files if entry.name.lower().endswith(ENDINGS)]
    if not known:  # a folder of DICOM slices, which need no ending
        return []
    reason = "is no image in a known format; give NIfTI, NRRD, MHA, PNG, JPEG or TIFF files, or DICOM folders."
    return [BatchItem(entry.name, None, "failed", f"{entry} {reason}") for entry in files if entry not in known]


def _from_files(files: Sequence[Path], unit: str) -> tuple[list[Channel], Grid]:
    volume = read_volume(files, unit=unit)
    grid = volume.grid
    place = {"size": grid.size, "spacing": grid.spacing, "origin": grid.origin, "direction": grid.direction}
    arrays = [np.ascontiguousarray(array) for array in volume.channels]
    channels = [
        Channel({"name": volume.name, "dtype": a.dtype.str, "components": 1, **place, "transform": None}, a)
        for a in arrays
    ]
    return channels, grid


def _from_node(node: Any) -> tuple[list[Channel], Grid]:
    channels = channels_of([node])
    place = channels[0].description
    return channels, Grid(*(tuple(place[key]) for key in ("size", "spacing", "origin", "direction")))


def _segment(name: str, load: Load, output: Path, model: Model, options: Options, overwrite: bool) -> BatchItem:
    try:
        channels, grid = load()
        result = run(Order(model, channels, None, options.fields))
        write_label_map(grid.to_image(result.labels), output, result.structures, overwrite, result.provenance)
    except UserError as error:
        return BatchItem(name, None, "failed", str(error))
    return BatchItem(name, output, "done", verdict(result))
