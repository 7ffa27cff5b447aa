"""From what a segment request says of its images, and their bytes, to a volume."""

from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from DinoUNetCore.engine.job import Job
from DinoUNetCore.engine.requests import ImageHeader, Segment
from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.checks import are_orthogonal, check_kind, check_values
from DinoUNetCore.volume.geometry import grid_difference
from DinoUNetCore.volume.resampling import resample_onto
from DinoUNetCore.volume.volume import Grid, Volume, channel_arrays


def volume_of(request: Segment, buffers: list[bytearray], job: Job, unit: str) -> Volume:
    """The images of a request as the channels of one volume. The arrays lie in the buffers; nothing is copied.

    Images that lie on another grid than the first are resampled onto it, which is logged. unit (of UNITS): what the
    model's lengths count in. UserErrors name the image: no voxels, unusable spacing or axes, NaN, no overlap.
    """
    first = request.images[0]
    grid = _grid(first, request.dimension)
    channels: list[np.ndarray] = []
    resampled = False
    for header, buffer in zip(request.images, buffers, strict=True):
        job.check()
        array = _array(header, buffer)
        _check(header, array)
        if header is not first:
            reason = _difference(grid, header, request.dimension, unit)
            if reason:
                job.log("info", f"{header.name} is resampled onto {first.name}: {reason}.")
                job.progress(0.0, None, "resampling")
                channels += channel_arrays(_resampled(header, array, grid))
                resampled = True
                continue
        channels += [array[..., component] for component in range(header.components)]
    return Volume(channels, grid, first.name, resampled)


def _array(header: ImageHeader, buffer: bytearray) -> np.ndarray:
    """The voxels KJIC, in the byte order of this machine."""
    array = np.frombuffer(buffer, dtype=header.dtype)
    if not array.dtype.isnative:
        array = array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))
    return array.reshape(*header.size[::-1], header.components)


def _check(header: ImageHeader, array: np.ndarray) -> None:
    check_kind(header.size, sitk.sitkUnknown, header.name)
    if not all(spacing > 0 for spacing in header.spacing):
        raise UserError(f"{header.name} has a spacing that is not above 0; correct its header or export it again.")
    if not are_orthogonal(np.reshape(header.direction, (3, 3))):
        raise UserError(
            f"{header.name} has sheared axes (not at right angles to each other), which cannot be kept faithfully; "
            "resample it to an orthogonal grid first."
        )
    if array.dtype.kind == "f":
        for plane in array:  # one at a time: the check takes an image, which is a copy
            check_values(sitk.GetImageFromArray(plane.reshape(len(plane), -1)), header.name)


def _grid(header: ImageHeader, dimension: int) -> Grid:
    return Grid(header.size, header.spacing, header.origin, header.direction, dimension)


def _difference(grid: Grid, header: ImageHeader, dimension: int, unit: str) -> str:
    """Why an image cannot be taken voxel by voxel, in words; an empty string if it can."""
    if unit == "pixel" and dimension == 2:
        difference = grid_difference(grid, _grid(header, 2), unit)
        if difference:
            raise UserError(f"{header.name} does not fit: {difference}; give pictures of one size as channels.")
        return ""
    if header.transform is not None and not np.array_equal(np.reshape(header.transform, (4, 4)), np.eye(4)):
        return "it lies under another transform"
    return grid_difference(grid, _grid(header, dimension), unit)


def _resampled(header: ImageHeader, array: np.ndarray, grid: Grid) -> sitk.Image:
    several = header.components > 1
    image = sitk.GetImageFromArray(array if several else array[..., 0], isVector=several)
    image.SetSpacing(header.spacing)
    image.SetOrigin(header.origin)
    image.SetDirection(header.direction)
    transform = None if header.transform is None else np.reshape(header.transform, (4, 4))
    return resample_onto(image, replace(grid, dimension=3), header.name, transform)
