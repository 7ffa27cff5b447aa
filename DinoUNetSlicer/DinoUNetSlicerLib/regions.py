"""A markups ROI as a box of voxels of a volume."""

import numpy as np

from DinoUNetSlicerLib.errors import UserError
from DinoUNetSlicerLib.volumes import array_of, image_to_ras, transform_to_world

Box = list[list[int]]
"""[[i0, i1], [j0, j1], [k0, k1]]: voxels i0 to i1 - 1, and so on."""


def box_of(roi, volume) -> Box:
    """The box of voxels that the ROI touches: around all its corners, however it is turned.

    UserError where it has no size or lies outside the volume.
    """
    size = np.array([roi.GetSize()[axis] for axis in range(3)], dtype=float)
    if not (size > 0).all():
        raise UserError(f"the region {roi.GetName()} has no size; place it in a slice view, or choose none.")
    object_to_world = array_of(roi.GetObjectToWorldMatrix())  # with the ROI's own parent transforms
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]) * size
    world = np.c_[corners, np.ones(8)] @ object_to_world.T
    to_voxels = np.linalg.inv(transform_to_world(volume) @ image_to_ras(volume))
    voxels = (world @ to_voxels.T)[:, :3]
    # Voxel i reaches from i - 0.5 to i + 0.5; a border that lies on another by rounding takes no further voxel.
    low = np.floor(voxels.min(axis=0) + 0.5 + 1e-6).astype(int)
    high = np.ceil(voxels.max(axis=0) + 0.5 - 1e-6).astype(int)
    counts = volume.GetImageData().GetDimensions()
    box = [[max(0, int(a)), min(count, int(b))] for a, b, count in zip(low, high, counts, strict=True)]
    if any(start >= stop for start, stop in box):
        raise UserError(f"the region {roi.GetName()} lies outside {volume.GetName()}; move it, or choose none.")
    return box


def whole_box(volume) -> Box:
    """The box of all voxels."""
    return [[0, count] for count in volume.GetImageData().GetDimensions()]

