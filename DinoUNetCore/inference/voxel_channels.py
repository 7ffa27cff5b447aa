"""A few numbers for every voxel of a box, on disk: written and read a slice at a time, of whatever plane."""

import math
import os
import shutil
import tempfile
from collections.abc import Sequence

import numpy as np

from DinoUNetCore.errors import UserError
from DinoUNetCore.files import reserve
from DinoUNetCore.volume.geometry import Slicing

FOLDER_VARIABLE = "TEMP" if os.name == "nt" else "TMPDIR"
"""Environment variable that names the folder of temporary files."""

SIDE = 8  # voxels of a cube
"""Voxels lie in the file cube by cube. So a slice of any plane, and those beside it, touch a few pages of the file
instead of all of it, however the volume is stored."""


class VoxelChannels:
    """Channels of the voxels of a box, in a temporary file that is gone when the block ends, or the process.

    shape: of the box, KJI in storage order. dtype: float16 or float32. name: of the volume, for messages.
    UserError where the disk has no room for it.
    """

    def __init__(self, shape: Sequence[int], channels: int, dtype: np.dtype, name: str):
        sides = [min(SIDE, count) for count in shape]
        cubes = [-(-count // side) for count, side in zip(shape, sides, strict=True)]
        voxels = math.prod(cubes) * math.prod(sides)
        self._numbers = _voxel_numbers(shape, sides, cubes)
        self._shape, self._dtype = (voxels, channels), np.dtype(dtype)
        self._mapped: np.ndarray | None = None
        self._slab: tuple | None = None
        self._file = _temporary_file(voxels * channels * self._dtype.itemsize, name)

    def __enter__(self) -> "VoxelChannels":
        return self

    def __exit__(self, *exception) -> None:
        self._mapped = None  # Windows does not delete a file that is mapped
        self._file.close()

    def read(self, slicing: Slicing, index: int, rows: slice) -> np.ndarray:
        """(rows, columns, channels) of some rows of the box's canonical slice `index`."""
        return self._map(slicing, index)[self._places(slicing, index, rows)]

    def write(self, slicing: Slicing, index: int, rows: slice, values: np.ndarray) -> None:
        """The inverse of `read`. What the type cannot hold becomes its largest number."""
        if self._dtype == np.float16:
            limit = np.finfo(np.float16).max
            values = values.clip(-limit, limit)
        self._map(slicing, index)[self._places(slicing, index, rows)] = values

    def _places(self, slicing: Slicing, index: int, rows: slice) -> np.ndarray:
        """(rows, columns) numbers of voxels in the file."""
        slices, down, across = (
            self._numbers[axis][::-1] if flip else self._numbers[axis]
            for axis, flip in zip(slicing.permutation, slicing.flips, strict=True)
        )
        return slices[index] + down[rows, None] + across[None]

    def _map(self, slicing: Slicing, index: int) -> np.ndarray:
        """The file as an array. With every new layer of cubes the pages of the old one are handed back."""
        slab = (slicing.permutation, index // SIDE)
        if self._mapped is None or slab != self._slab:
            self._mapped, self._slab = None, slab
            self._mapped = np.asarray(np.memmap(self._file, self._dtype, "r+", 0, self._shape))
        return self._mapped


def _voxel_numbers(shape: Sequence[int], sides: Sequence[int], cubes: Sequence[int]) -> list[np.ndarray]:
    """Per axis what each index adds to a voxel's number."""
    numbers = []
    for axis, count in enumerate(shape):
        cube, inside = np.divmod(np.arange(count, dtype=np.int64), sides[axis])
        between_cubes = math.prod(cubes[axis + 1 :]) * math.prod(sides)
        numbers.append(cube * between_cubes + inside * math.prod(sides[axis + 1 :]))
    return numbers


def _temporary_file(size: int, name: str):
    """An empty file of so many bytes. It has no name, or is deleted by the system when its last handle is closed."""
    try:
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if size <= free:
            file = tempfile.TemporaryFile(prefix="dinounet-")  # noqa: SIM115 - closed by its owner
            try:
                reserve(file, size)
            except BaseException:
                file.close()
                raise
            return file
    except OSError as error:
        raise UserError(
            f"{name}: fusing planes needs {size / 1e9:.2g} GB of temporary disk space, which cannot be had "
            f"({error.strerror or error}); name another folder by the environment variable {FOLDER_VARIABLE}, or "
            "choose one plane."
        ) from error
    raise UserError(
        f"{name}: fusing planes needs {size / 1e9:.2g} GB of temporary disk space, but {folder} has "
        f"{free / 1e9:.2g} GB free; make room, name another folder by the environment variable {FOLDER_VARIABLE}, or "
        "choose one plane."
    )
