"""Numbers per voxel on disk: what is written in one plane is read in another."""

import numpy as np
import pytest

from DinoUNetCore.inference.voxel_channels import VoxelChannels
from DinoUNetCore.volume.geometry import PLANES, Slicing
from DinoUNetCore.volume.volume import Grid


@pytest.mark.parametrize("shape", [(9, 17, 30), (1, 2, 40), (8, 8, 8), (3, 33, 1)])
@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, -1, 1, 0, 0, 0, -1, 0)])
def test_every_voxel_is_found_again_from_every_plane(shape, direction):
    grid = Grid((40, 40, 40), (1.0,) * 3, (0.0,) * 3, tuple(map(float, direction)))
    values = np.random.default_rng(0).normal(size=(*shape, 3)).astype(np.float32)
    slicings = {plane: Slicing.of(grid, plane) for plane in PLANES}
    cut = {plane: np.stack([slicings[plane].cut(values[..., c]) for c in range(3)], axis=-1) for plane in PLANES}
    for written in PLANES:
        with VoxelChannels(shape, 3, np.float32, "it") as channels:
            for index, plane in enumerate(cut[written]):
                middle = len(plane) // 2  # in two parts
                for rows in (slice(0, middle), slice(middle, len(plane))):
                    channels.write(slicings[written], index, rows, plane[rows])
            for read in PLANES:
                for index, plane in enumerate(cut[read]):
                    rows = slice(len(plane) // 3, len(plane))
                    np.testing.assert_array_equal(channels.read(slicings[read], index, rows), plane[rows])


def test_half_precision_holds_what_is_too_large_as_its_largest_number():
    grid = Grid((4, 3, 2), (1.0,) * 3, (0.0,) * 3, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    slicing = Slicing.of(grid, "axial")
    with VoxelChannels((2, 3, 4), 1, np.float16, "it") as channels:
        channels.write(slicing, 1, slice(0, 1), np.array([1e6, -1e6, 0.5, 3.0], np.float32).reshape(1, 4, 1))
        assert channels.read(slicing, 1, slice(0, 1)).ravel().tolist() == [65504, -65504, 0.5, 3.0]
