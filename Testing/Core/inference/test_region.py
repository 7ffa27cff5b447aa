"""Regions: from a box of voxels to slices, rows and columns, and to the pixels that a network has to see."""

import itertools

import numpy as np
import pytest
import torch

from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.region import Part, region_shape, region_slices
from DinoUNetCore.volume.geometry import PLANES, Slicing
from DinoUNetCore.volume.resampling import resize
from DinoUNetCore.volume.volume import Grid


def grids():
    """All 48 axis orders and flips of one size."""
    for order, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)):
        direction = np.zeros((3, 3))
        direction[list(order), range(3)] = signs
        yield Grid((5, 6, 7), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(direction.ravel()))


@pytest.mark.parametrize("plane", PLANES)
def test_a_part_of_the_slices_shows_the_voxels_of_the_region(plane):
    region = [[1, 3], [0, 5], [4, 7]]
    for grid in grids():
        slicing = Slicing.of(grid, plane)
        array = np.arange(5 * 6 * 7).reshape(grid.size[::-1])
        part = Part.of(region, grid, slicing)
        inside = array[region_slices(region)]
        assert inside.shape == region_shape(region, grid)
        cut = slicing.cut(array)[part.slices, part.rows, part.columns]
        np.testing.assert_array_equal(cut, slicing.cut(inside))


def test_no_region_is_the_whole_grid():
    for grid in grids():
        slicing = Slicing.of(grid, "axial")
        part = Part.of(None, grid, slicing)
        shape = slicing.cut(np.empty(grid.size[::-1])).shape
        assert [(s.start, s.stop) for s in (part.slices, part.rows, part.columns)] == [(0, count) for count in shape]


def test_a_region_that_is_no_box_is_refused():
    grid = next(grids())
    for region in ([[0, 6], [0, 6], [0, 7]], [[0, 5], [0, 6]], [[2, 2], [0, 6], [0, 7]], [[-1, 5], [0, 6], [0, 7]]):
        with pytest.raises(UserError, match="is no box"):
            Part.of(region, grid, Slicing.of(grid, "axial"))


@pytest.mark.parametrize("network", [7, 20, 41, 100])  # the native slice has 41 rows
def test_outside_the_window_nothing_has_an_influence_on_the_part(network):
    for start, stop in ((0, 1), (3, 9), (20, 21), (35, 41)):
        part = Part(slice(0, 1), slice(start, stop), slice(0, 4))
        window, _ = part.window((41, 4), (network, 4))
        inside = torch.zeros(1, 1, network, 4)
        inside[:, :, window] = 1
        other = torch.randn(1, 1, network, 4, generator=torch.Generator().manual_seed(0)) * (1 - inside)
        assert resize(other, (41, 4))[:, :, start:stop].abs().max() == 0
        assert window.stop - window.start <= (stop - start) * network / 41 + 2 * max(1, network / 41) + 3
