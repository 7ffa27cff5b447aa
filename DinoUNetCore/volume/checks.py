"""What an image must be before anything is computed with it: the checks shared by files and by images in memory."""

import numpy as np
import SimpleITK as sitk

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.volume import channel_arrays

# Axes count as orthogonal when the cosine between them stays below this: 0.06 degrees, far above float32 rounding.
ORTHOGONAL_TOLERANCE = 1e-3

# float32 arithmetic overflows beyond 3e38; the squares that a standard deviation needs stay finite in float64.
_LARGEST_VALUE = 1e38


def check_image(image: sitk.Image, name: str = "the image") -> None:
    """Refuse an image that cannot be segmented faithfully, with a UserError that starts with `name`.

    Accepted: 2D or 3D, real numbers (one or several components), orthogonal axes, finite voxels, at least one voxel.
    Memory: nothing is copied; float voxels are looked at one slice at a time.
    """
    check_kind(image.GetSize(), image.GetPixelIDValue(), name)
    check_axes(image, name)
    check_values(image, name)


def check_kind(size: tuple[int, ...], pixel_id: int, name: str) -> None:
    """Refuse wrong dimensions and kinds of voxels, known from the header alone."""
    shape = " x ".join(str(count) for count in size)
    if len(size) not in (2, 3):
        raise UserError(
            f"{name} has {len(size)} dimensions ({shape}), such as a time series; extract one 3D volume first."
        )
    if 0 in size:
        raise UserError(f"{name} is empty ({shape} voxels); export it again.")
    if pixel_id in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        raise UserError(f"{name} has complex voxels; convert it to real numbers first, for example to magnitudes.")


def check_axes(image: sitk.Image, name: str) -> None:
    """Refuse sheared axes and spacings that are not positive numbers."""
    dimension = image.GetDimension()
    spacing = np.array(image.GetSpacing())
    if not (np.isfinite(spacing).all() and (spacing > 0).all() and np.isfinite(image.GetOrigin()).all()):
        raise UserError(f"{name} has an unusable spacing or origin; correct its header or export it again.")
    direction = np.array(image.GetDirection()).reshape(dimension, dimension)
    if not are_orthogonal(direction):
        raise UserError(
            f"{name} has sheared axes (not at right angles to each other), which cannot be kept faithfully; "
            "resample it to an orthogonal grid first."
        )


def are_orthogonal(columns: np.ndarray) -> bool:
    """Whether the columns are finite unit vectors at right angles, within ORTHOGONAL_TOLERANCE."""
    products = columns.T @ columns
    return bool(np.abs(products - np.eye(len(products))).max() <= ORTHOGONAL_TOLERANCE)  # False for NaN, too


def check_values(image: sitk.Image, name: str) -> None:
    """Refuse NaN, infinite and absurdly large voxels."""
    for channel in channel_arrays(image):
        if channel.dtype.kind != "f":
            continue
        for plane in channel:
            # A NaN makes both NaN; no temporary array is needed.
            low, high = float(plane.min()), float(plane.max())
            if not (low >= -_LARGEST_VALUE and high <= _LARGEST_VALUE):
                what = "NaN" if np.isnan(low) else "infinite or absurdly large"
                raise UserError(f"{name} has {what} voxels; replace them by a sensible value first.")
