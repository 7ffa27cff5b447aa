"""Probability maps on disk: one uncompressed .mha per label, filled slice by slice and never held in memory.

Each holds the probability 0..1 of one label as float32, on the input's grid to the bit; 3D Slicer and SimpleITK read
them.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import atomic_path, reserve
from DinoUNetCore.volume.geometry import Slicing
from DinoUNetCore.volume.labels import Label
from DinoUNetCore.volume.volume import Grid

_MAPPED_AT_ONCE = 64 << 20  # bytes written through a memory map before the pages are handed back


class ProbabilityFiles:
    """FOLDER/NAME_VALUE_LABEL.mha for every label but the background; all of them, or none if a run fails."""

    def __init__(self, folder: str | os.PathLike, name: str, labels: Sequence[Label], overwrite: bool = False):
        """Raises UserError where a file exists, unless `overwrite`."""
        self.paths = [Path(folder) / f"{name}_{label.value}_{_plain(label.name)}.mha" for label in labels]
        existing = [path for path in self.paths if path.exists()]
        if existing and not overwrite:
            raise UserError(f"{existing[0]} exists already; add --overwrite, remove it or name another folder.")

    @contextmanager
    def opened(self, grid: Grid, slicing: Slicing) -> Iterator["ProbabilityWriter"]:
        """A writer for one volume; the files appear under their names when the block ends without an error."""
        with ExitStack() as stack:
            temporaries = [stack.enter_context(atomic_path(path)) for path in self.paths]
            writer = ProbabilityWriter(temporaries, grid, slicing)
            try:
                yield writer
            finally:
                writer.release()  # Windows neither renames nor deletes files that are mapped


class ProbabilityWriter:
    """Writes parts of slices into the files of all labels. Used through `ProbabilityFiles.opened`."""

    def __init__(self, paths: Sequence[Path], grid: Grid, slicing: Slicing):
        self.paths, self.slicing, self.shape = paths, slicing, grid.size[::-1]
        header = _mha_header(grid)
        self.offset = len(header)
        self.maps: list[np.ndarray] = []
        self.mapped = 0
        for path in paths:
            _reserve(path, header, 4 * int(np.prod(self.shape)))

    def write(self, index: int, first_row: int, probabilities: np.ndarray) -> None:
        """probabilities: (labels, rows, columns) float32, without the background, of the canonical slice `index`."""
        if not self.maps:
            mapped = [np.memmap(path, "<f4", "r+", self.offset, self.shape) for path in self.paths]
            self.maps = [self.slicing.cut(array) for array in mapped]
        rows = slice(first_row, first_row + probabilities.shape[1])
        for array, values in zip(self.maps, probabilities, strict=True):
            array[index, rows] = values
        self.mapped += probabilities.nbytes
        if self.mapped > _MAPPED_AT_ONCE:
            self.release()

    def release(self) -> None:
        """Hand what was written to the operating system, and its memory back."""
        self.maps, self.mapped = [], 0


def _plain(name: str) -> str:
    """A label's name as part of a file name on every system."""
    return re.sub(r"[^\w-]+", "_", name).strip("_") or "label"


def _reserve(path: Path, header: bytes, size: int) -> None:
    with open(path, "wb") as file:
        file.write(header)
        reserve(file, size)


def _mha_header(grid: Grid) -> bytes:
    """MetaImage (.mha) header of float32 voxels; numbers in full, so that the grid is kept to the bit."""
    dimension = grid.dimension
    axes = grid.matrix[:dimension, :dimension].T  # MetaImage lists the axes' vectors one after the other

    def numbers(values: Sequence[float]) -> str:
        return " ".join(repr(float(value)) for value in values)

    return "\n".join(
        [
            "ObjectType = Image",
            f"NDims = {dimension}",
            "BinaryData = True",
            "BinaryDataByteOrderMSB = False",
            "CompressedData = False",
            f"TransformMatrix = {numbers(axes.ravel())}",
            f"Offset = {numbers(grid.origin[:dimension])}",
            f"CenterOfRotation = {numbers([0.0] * dimension)}",
            f"ElementSpacing = {numbers(grid.spacing[:dimension])}",
            f"DimSize = {' '.join(map(str, grid.size[:dimension]))}",
            "ElementType = MET_FLOAT",
            "ElementDataFile = LOCAL",
            "",
        ]
    ).encode("ascii")
