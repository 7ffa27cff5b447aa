"""Slices are the same for every storage order of the same body, and go back exactly."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.geometry import PLANES, Slicing, choose_plane, grid_difference, lps_spacing, storage_axes
from DinoUNetCore.volume.volume import Grid

ORDERS = [(order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)]
IDENTITY = np.eye(3)
IDENTITY_NUMBERS = tuple(IDENTITY.ravel().tolist())


def rotation(axis: int, degrees: float) -> np.ndarray:
    one, other = (number for number in range(3) if number != axis)
    matrix = np.eye(3)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix[one, one], matrix[one, other], matrix[other, one], matrix[other, other] = cosine, -sine, sine, cosine
    return matrix


OBLIQUE = rotation(0, 19) @ rotation(2, 33) @ rotation(1, -12)
MIRRORED = OBLIQUE @ np.diag([1.0, 1.0, -1.0])  # left-handed
TIES = [
    rotation(0, 45),
    rotation(1, 45),
    rotation(2, 45),
    rotation(2, -45),
    rotation(0, 45) @ rotation(2, 45),
    rotation(2, 45) @ rotation(0, 54.735610317245346),  # a corner of the cube looks at us: all cosines alike
    np.array([[2, -1, 2], [2, 2, -1], [-1, 2, 2]]) / 3,
]
DIRECTIONS = [IDENTITY, rotation(1, 8.8), OBLIQUE, MIRRORED, *TIES]


def make_grid(direction: np.ndarray, size=(5, 6, 7), spacing=(0.7, 0.8, 2.5)) -> Grid:
    return Grid(size, spacing, (-100.5, 20.25, 3.125), tuple(direction.ravel().tolist()), 3)


def stored_otherwise(array: np.ndarray, grid: Grid, order, flips) -> tuple[np.ndarray, Grid]:
    """The same voxels at the same places, with the storage axes (I, J, K) in another order and direction."""
    matrix = grid.matrix[:, order].copy()
    matrix[:, list(flips)] *= -1
    first = [0, 0, 0]
    for axis, flip in zip(order, flips, strict=True):
        first[axis] = grid.size[axis] - 1 if flip else 0
    result = array.transpose([2 - axis for axis in reversed(order)])
    result = result[tuple(slice(None, None, -1 if flip else 1) for flip in reversed(flips))]
    size, spacing = tuple(grid.size[axis] for axis in order), tuple(grid.spacing[axis] for axis in order)
    return result, Grid(size, spacing, tuple(grid.position(first).tolist()), tuple(matrix.ravel().tolist()), 3)


def voxels(grid: Grid) -> np.ndarray:
    return np.arange(np.prod(grid.size), dtype=np.int32).reshape(grid.size[::-1])


def position_of(grid: Grid, array: np.ndarray, value: int) -> np.ndarray:
    k, j, i = np.argwhere(array == value)[0]
    return np.array(grid.to_image(array).TransformContinuousIndexToPhysicalPoint((float(i), float(j), float(k))))


def test_storing_otherwise_keeps_physical_places():
    grid = make_grid(OBLIQUE)
    array = voxels(grid)
    for order, flips in ORDERS:
        other_array, other_grid = stored_otherwise(array, grid, order, flips)
        for value in (0, 17, 209):
            assert np.allclose(position_of(other_grid, other_array, value), position_of(grid, array, value), atol=1e-9)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("direction", DIRECTIONS, ids=range(len(DIRECTIONS)))
def test_all_48_storage_orders_give_the_same_slices_and_go_back(direction, plane):
    grid = make_grid(direction)
    array = voxels(grid)
    expected = Slicing.of(grid, plane)
    for order, flips in ORDERS:
        other_array, other_grid = stored_otherwise(array, grid, order, flips)
        slicing = Slicing.of(other_grid, plane)
        assert np.array_equal(slicing.cut(other_array), expected.cut(array))
        assert np.array_equal(slicing.restore(slicing.cut(other_array)), other_array)
        assert slicing.spacing == expected.spacing
        assert (slicing.plane, slicing.axes) == (plane, expected.axes)


@pytest.mark.parametrize(
    "direction", [IDENTITY, rotation(1, 8.8), OBLIQUE, MIRRORED], ids=["upright", "oblique", "3x", "mirror"]
)
@pytest.mark.parametrize(
    ("plane", "slices", "rows", "columns"),
    [
        ("axial", (0, 0, 1), (0, 1, 0), (1, 0, 0)),
        ("coronal", (0, 1, 0), (0, 0, -1), (1, 0, 0)),
        ("sagittal", (1, 0, 0), (0, 0, -1), (0, 1, 0)),
    ],
)
def test_slices_rows_and_columns_run_as_radiologists_see_them(direction, plane, slices, rows, columns):
    grid = make_grid(direction)
    array = voxels(grid)
    cut = Slicing.of(grid, plane).cut(array)
    start = position_of(grid, array, cut[0, 0, 0])
    spacing = Slicing.of(grid, plane).spacing
    for step, towards, distance in zip(
        ((1, 0, 0), (0, 1, 0), (0, 0, 1)), (slices, rows, columns), spacing, strict=True
    ):
        walked = position_of(grid, array, cut[step]) - start
        assert np.linalg.norm(walked) == pytest.approx(distance)
        assert walked @ np.array(towards) > 0.5 * distance


def test_cutting_copies_nothing():
    grid = make_grid(OBLIQUE)
    array = voxels(grid)
    slicing = Slicing.of(grid, "sagittal")
    assert np.shares_memory(slicing.cut(array), array)
    assert np.shares_memory(slicing.restore(slicing.cut(array)), array)


@pytest.mark.parametrize("direction", DIRECTIONS, ids=range(len(DIRECTIONS)))
def test_each_storage_axis_gets_its_own_anatomical_axis(direction):
    axes = storage_axes(make_grid(direction))
    assert sorted(axis for axis, _ in axes) == [0, 1, 2]
    for row, (axis, sign) in enumerate(axes):
        assert direction[row, axis] * sign > 0


def test_ties_survive_the_rounding_of_a_file_header():
    for tie in TIES:
        noisy = tie.astype(np.float32).astype(np.float64)
        assert storage_axes(make_grid(noisy)) == storage_axes(make_grid(tie))


def test_random_directions_are_independent_of_storage():
    random = np.random.default_rng(5)
    for _ in range(50):
        direction, _ = np.linalg.qr(random.normal(size=(3, 3)))
        grid = make_grid(direction)
        array = voxels(grid)
        order, flips = ORDERS[random.integers(48)]
        other_array, other_grid = stored_otherwise(array, grid, order, flips)
        assert np.array_equal(Slicing.of(other_grid, "axial").cut(other_array), Slicing.of(grid, "axial").cut(array))


def test_sizes_and_spacings_are_given_in_anatomical_order():
    turned = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # I runs to P, J to S, K to L
    grid = make_grid(turned)
    assert lps_spacing(grid) == (2.5, 0.7, 0.8)


@pytest.mark.parametrize("plane", [*PLANES, "finest"])
def test_a_picture_is_taken_as_it_is_stored(plane):
    image = sitk.GetImageFromArray(np.arange(30, dtype=np.uint8).reshape(5, 6))
    image.SetSpacing((0.3, 0.4))
    image.SetDirection((0, -1, 1, 0))
    slicing = Slicing.of(Grid.of(image), plane)
    array = sitk.GetArrayFromImage(image)[np.newaxis]
    assert np.array_equal(slicing.cut(array), array)
    assert slicing.spacing == (1.0, 0.4, 0.3)
    assert slicing.axes == ("", "", "")


@pytest.mark.parametrize(("axis", "plane"), [(0, "sagittal"), (1, "coronal"), (2, "axial")])
def test_a_single_slice_is_cut_along_itself_whatever_the_plane(axis, plane):
    size = tuple(1 if number == axis else count for number, count in enumerate((5, 6, 7)))
    for asked in (*PLANES, "finest"):
        slicing = Slicing.of(make_grid(IDENTITY, size), asked)
        assert slicing.plane == plane
        assert slicing.cut(voxels(make_grid(IDENTITY, size))).shape[0] == 1


def test_a_single_row_of_voxels_is_cut_as_asked():
    assert Slicing.of(make_grid(IDENTITY, (5, 1, 1)), "coronal").plane == "coronal"


@pytest.mark.parametrize(
    ("spacing", "plane"),
    [
        ((1.0, 1.0, 1.0), "axial"),
        ((0.5, 0.5, 7.5), "axial"),
        ((0.5, 4.0, 0.5), "coronal"),
        ((5.0, 0.9, 0.9), "sagittal"),
        ((0.8, 1.0, 1.0), "axial"),  # axial and coronal tie
        ((1.0, 1.0, 0.8), "coronal"),  # coronal and sagittal tie
        ((1.0, 1.0, 0.9999), "axial"),  # a tie but for rounding
    ],
)
def test_the_finest_plane_has_the_smallest_pixels(spacing, plane):
    assert choose_plane(spacing, "finest") == plane
    assert choose_plane(make_grid(IDENTITY, spacing=spacing), "finest") == plane


def test_an_unknown_plane_is_refused_with_the_choices():
    with pytest.raises(UserError, match=r"'transversal'; choose one of axial, coronal, sagittal or finest"):
        choose_plane((1, 1, 1), "transversal")


def test_in_pixels_slices_are_cut_alike_and_every_pixel_is_one_by_one():
    for grid in (make_grid(OBLIQUE), Grid((9, 8, 1), (0.35, 0.4, 1.0), (0.0, 0.0, 0.0), IDENTITY_NUMBERS, 2)):
        in_mm, in_pixels = Slicing.of(grid, "finest"), Slicing.of(grid, "finest", "pixel")
        assert in_pixels.spacing == (1.0, 1.0, 1.0) != in_mm.spacing
        assert replace(in_pixels, spacing=in_mm.spacing) == in_mm


def test_in_pixels_pictures_differ_by_their_size_only():
    picture = Grid((9, 8, 1), (0.35, 0.35, 1.0), (0.0, 0.0, 0.0), IDENTITY_NUMBERS, 2)
    scanned = replace(picture, spacing=(0.0846, 0.0846, 1.0), origin=(1.0, 2.0, 0.0))
    assert grid_difference(picture, scanned, "pixel") == ""
    assert "spacings differ" in grid_difference(picture, scanned, "mm")
    assert "sizes differ" in grid_difference(picture, replace(scanned, size=(8, 9, 1)), "pixel")
    volume = make_grid(IDENTITY)
    assert "spacings differ" in grid_difference(volume, replace(volume, spacing=(0.7, 0.8, 2.6)), "pixel")
