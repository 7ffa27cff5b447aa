"""How much memory an image will need, told by its header before it is read."""

from collections.abc import Sequence
from math import prod
from pathlib import Path

import SimpleITK as sitk

_PACKED = 3
"""A DICOM series may be compressed to this part of its size without loss."""


def unpacked_bytes(paths: Sequence[Path]) -> int:
    """Bytes of all voxels of some image files, or folders of a DICOM series (at most).

    What is no image, or cannot be asked, counts 0.
    """
    return sum(map(_of, paths))


def _of(path: Path) -> int:
    try:
        return _of_folder(path) if path.is_dir() else _of_file(path)
    except (OSError, RuntimeError):
        return 0  # reading it will say why


def _of_folder(folder: Path) -> int:
    return _PACKED * sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _of_file(path: Path) -> int:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    voxel = sitk.Image([1, 1], reader.GetPixelIDValue(), reader.GetNumberOfComponents())
    return prod(reader.GetSize()) * voxel.GetSizeOfPixelComponent() * voxel.GetNumberOfComponentsPerPixel()
