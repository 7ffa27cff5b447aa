"""Resampling: slices to the spacing a network works at and back, and channels onto another image's grid."""

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.volume import Grid, channel_arrays


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


def resample_onto(image: sitk.Image, reference: sitk.Image, name: str = "the image") -> sitk.Image:
    """`image` on the grid of `reference`, linearly in world space, in float32 (float64 stays float64).

    Outside its field of view it is filled with its smallest value. Raises UserError if the two do not overlap.
    """
    if image.GetDimension() != reference.GetDimension():
        raise UserError(
            f"{name} is {image.GetDimension()}D and cannot be resampled onto a {reference.GetDimension()}D image; "
            "give images of the same kind."
        )
    if not _overlap(Grid.of(image), Grid.of(reference)):
        raise UserError(
            f"{name} does not overlap with the image that it belongs to; check that both show the same patient."
        )
    lowest = min(float(channel.min()) for channel in channel_arrays(image))
    identity = sitk.Transform(image.GetDimension(), sitk.sitkIdentity)
    # Not in the image's own whole-numbered type: ITK would cut the interpolated values off instead of rounding them.
    pixel_id = image.GetPixelID()
    if channel_arrays(image)[0].dtype != np.float64:
        pixel_id = sitk.sitkFloat32 if image.GetNumberOfComponentsPerPixel() == 1 else sitk.sitkVectorFloat32
    return sitk.Resample(image, reference, identity, sitk.sitkLinear, lowest, pixel_id)


def _overlap(grid: Grid, reference: Grid) -> bool:
    """Whether the box around the reference's corners, seen from `grid`, meets the grid's own box."""
    indices = (reference.corners() - np.array(grid.origin)) @ np.linalg.inv(grid.matrix).T / np.array(grid.spacing)
    return bool((indices.max(axis=0) >= -0.5).all() and (indices.min(axis=0) <= np.array(grid.size) - 0.5).all())
