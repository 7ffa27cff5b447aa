"""Images for tests of segmentation: blobs on grids of any direction and storage order."""

import itertools
import math

import numpy as np
import SimpleITK as sitk

from DinoUNetCore.volume.volume import channel_arrays


def smooth(shape, seed=0, dtype=np.int16):
    """Blobs of a few voxels, so that label borders do not lie on every voxel."""
    noise = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    image = sitk.DiscreteGaussian(sitk.GetImageFromArray(noise), 4.0)
    array = sitk.GetArrayFromImage(image)
    return (array / array.std() * 200 + 500).astype(dtype)


def image_of(array, spacing=None, origin=None, direction=None, vector=False):
    image = sitk.GetImageFromArray(array, isVector=vector)
    dimension = image.GetDimension()
    image.SetSpacing(spacing or (1.0,) * dimension)
    image.SetOrigin(origin or (0.0,) * dimension)
    image.SetDirection(direction or np.eye(dimension).ravel().tolist())
    return image


def oblique(a=0.3, b=0.2, c=-0.25):
    matrix = np.eye(3)
    for axis, angle in enumerate((a, b, c)):
        turn = np.eye(3)
        i, j = (n for n in range(3) if n != axis)
        turn[[i, i, j, j], [i, j, i, j]] = math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)
        matrix = matrix @ turn
    return matrix


def values(image):
    return channel_arrays(image)[0]


def reordered(image, permutation, flips):
    """The same voxels at the same points in space, in another storage order."""
    return sitk.Flip(sitk.PermuteAxes(image, permutation), flips, flipAboutOrigin=False)


def assert_same_grid(image, other):
    for name in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(image, name)() == getattr(other, name)(), name


ORDERS = list(itertools.product(itertools.permutations(range(3)), itertools.product((False, True), repeat=3)))
