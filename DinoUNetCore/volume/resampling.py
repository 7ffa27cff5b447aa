"""Resampling: slices to the spacing a network works at and back, and channels onto another image's grid."""

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.volume import Grid, channel_arrays

_WORST_CONDITION = 1e9  # of a transform that squeezes one direction this much more than another, nothing is left


def target_size(size: Sequence[int], spacing: Sequence[float], target_spacing: Sequence[float]) -> tuple[int, int]:
    """(rows, columns) of a slice at another spacing (row, column; mm): the same field of view, at least 1 x 1."""
    rows, columns = (
        max(1, round(count * old / new)) for count, old, new in zip(size, spacing, target_spacing, strict=True)
    )
    return rows, columns


def resize(images: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Bilinear: (N, C, H, W) float to (N, C, *size), borders aligned, smoothed first along axes that shrink."""
    size = tuple(size)
    if tuple(images.shape[-2:]) == size:
        return images
    shrinks = size[0] < images.shape[-2] or size[1] < images.shape[-1]
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=shrinks)


def resample_onto(
    image: sitk.Image, reference: sitk.Image | Grid, name: str = "the image", transform: np.ndarray | None = None
) -> sitk.Image:
    """`image` on the grid of `reference`, linearly in world space, in float32 (float64 stays float64).

    transform: 4 x 4, LPS in mm, affine: from the image's space to the reference's; None where both are the same. 2D
    images use what it does within their plane. Outside the image's field of view its smallest value is taken. Raises
    UserError if the two do not overlap, and for a transform that cannot be inverted.
    """
    dimension = image.GetDimension()
    grid = reference if isinstance(reference, Grid) else Grid.of(reference)
    if dimension != grid.dimension:
        raise UserError(
            f"{name} is {dimension}D and cannot be resampled onto a {grid.dimension}D image; "
            "give images of the same kind."
        )
    back = _inverse(transform, name)
    if not _overlap(Grid.of(image), grid, back):
        raise UserError(
            f"{name} does not overlap with the image that it belongs to; check that both show the same patient."
        )
    lowest = min(float(channel.min()) for channel in channel_arrays(image))
    # Not in the image's own whole-numbered type: ITK would cut the interpolated values off instead of rounding them.
    pixel_id = image.GetPixelID()
    if channel_arrays(image)[0].dtype != np.float64:
        pixel_id = sitk.sitkFloat32 if image.GetNumberOfComponentsPerPixel() == 1 else sitk.sitkVectorFloat32
    to_image = sitk.AffineTransform(dimension)  # ITK asks for each voxel of the grid where it lies in the image
    to_image.SetMatrix(back[:dimension, :dimension].ravel().tolist())
    to_image.SetTranslation(back[:dimension, 3].tolist())
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(grid.size[:dimension])
    resampler.SetOutputSpacing(grid.spacing[:dimension])
    resampler.SetOutputOrigin(grid.origin[:dimension])
    resampler.SetOutputDirection(grid.matrix[:dimension, :dimension].ravel().tolist())
    resampler.SetTransform(to_image)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetDefaultPixelValue(lowest)
    resampler.SetOutputPixelType(pixel_id)
    return resampler.Execute(image)


def _inverse(transform: np.ndarray | None, name: str) -> np.ndarray:
    if transform is None:
        return np.eye(4)
    if not np.linalg.cond(transform[:3, :3]) < _WORST_CONDITION:
        raise UserError(f"{name} lies under a transform that cannot be inverted; correct or remove the transform.")
    return np.linalg.inv(transform)


def _overlap(grid: Grid, reference: Grid, back: np.ndarray) -> bool:
    """Whether the box around the reference's corners, brought `back` to the grid's space, meets the grid's own box."""
    corners = reference.corners() @ back[:3, :3].T + back[:3, 3]
    indices = (corners - np.array(grid.origin)) @ np.linalg.inv(grid.matrix).T / np.array(grid.spacing)
    return bool((indices.max(axis=0) >= -0.5).all() and (indices.min(axis=0) <= np.array(grid.size) - 0.5).all())
