"""Grids and volumes: geometry to the bit, comparisons in words, views that stay valid."""

import gc

import numpy as np
import pytest
import SimpleITK as sitk

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.volume import Grid, Volume

TURN = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def make_image(array, spacing=(0.7, 0.8, 2.5), origin=(-11.1, 22.2, 33.3), direction=TURN) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


def make_picture(array) -> sitk.Image:
    return make_image(array, (0.3, 0.4), (5.0, 6.0), (0.0, -1.0, 1.0, 0.0))


def test_a_grid_places_voxels_where_simpleitk_does():
    image = make_image(np.zeros((4, 5, 6), np.uint8))
    grid = Grid.of(image)
    for index in [(0, 0, 0), (5, 0, 0), (0, 4, 0), (0, 0, 3), (2, 3, 1)]:
        assert np.allclose(grid.position(index), image.TransformIndexToPhysicalPoint(index), atol=1e-12)


def test_a_2d_grid_places_pixels_where_simpleitk_does():
    image = make_picture(np.zeros((5, 6), np.uint8))
    grid = Grid.of(image)
    assert (grid.size, grid.dimension) == ((6, 5, 1), 2)
    assert np.allclose(grid.position((4, 3, 0))[:2], image.TransformIndexToPhysicalPoint((4, 3)), atol=1e-12)


@pytest.mark.parametrize("image", [make_image(np.zeros((4, 5, 6), np.int16)), make_picture(np.zeros((5, 6), np.int16))])
def test_to_image_gives_the_same_geometry_to_the_bit(image):
    grid = Grid.of(image)
    labels = np.arange(np.prod(grid.size), dtype=np.uint8).reshape(grid.size[::-1])
    result = grid.to_image(labels)
    assert result.GetDimension() == image.GetDimension()
    assert result.GetSpacing() == image.GetSpacing()
    assert result.GetOrigin() == image.GetOrigin()
    assert result.GetDirection() == image.GetDirection()
    assert np.array_equal(sitk.GetArrayFromImage(result).ravel(), labels.ravel())


def test_to_image_takes_views_that_are_not_contiguous():
    grid = Grid.of(make_image(np.zeros((4, 5, 6), np.uint8)))
    array = np.arange(120, dtype=np.uint8).reshape(6, 5, 4).transpose(2, 1, 0)[::-1]
    assert np.array_equal(sitk.GetArrayFromImage(grid.to_image(array)), array)


def test_rounded_headers_count_as_the_same_grid():
    image = make_image(np.zeros((40, 50, 60), np.uint8))
    rounded = make_image(np.zeros((40, 50, 60), np.uint8), spacing=(0.700001, 0.8, 2.5), origin=(-11.10001, 22.2, 33.3))
    assert Grid.of(image).close_to(Grid.of(rounded))


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        (make_image(np.zeros((4, 5, 7), np.uint8)), "sizes"),
        (make_image(np.zeros((4, 5, 6), np.uint8), spacing=(0.7, 0.8, 2.6)), "spacings"),
        (make_image(np.zeros((4, 5, 6), np.uint8), origin=(-10.1, 22.2, 33.3)), "origins"),
        (make_image(np.zeros((4, 5, 6), np.uint8), direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)), "directions"),
        (make_picture(np.zeros((5, 6), np.uint8)), "2D"),
    ],
)
def test_a_difference_is_named(changed, word):
    grid = Grid.of(make_image(np.zeros((4, 5, 6), np.uint8)))
    assert word in grid.difference(Grid.of(changed))
    assert not grid.close_to(Grid.of(changed))
    assert grid.difference(grid) == ""


def test_the_tolerance_is_in_millimetres():
    grid = Grid.of(make_image(np.zeros((4, 5, 6), np.uint8)))
    shifted = Grid.of(make_image(np.zeros((4, 5, 6), np.uint8), origin=(-11.0, 22.2, 33.3)))
    assert grid.close_to(shifted, 0.11)
    assert not grid.close_to(shifted, 0.09)


def test_channels_are_views_that_keep_their_image_alive():
    expected = np.random.default_rng(0).integers(-1000, 1000, (4, 16, 16)).astype(np.int16)
    channels = [Volume.from_images([make_image(expected)], "ct").channels[0] for _ in range(50)]
    gc.collect()
    others = [make_image(np.full((4, 16, 16), 7, np.int16)) for _ in range(50)]  # would reuse memory that was freed
    assert all(np.array_equal(channel, expected) for channel in channels)
    assert len(others) == 50


def test_channels_cannot_be_written_to():
    channel = Volume.from_images([make_image(np.zeros((4, 5, 6), np.uint8))], "ct").channels[0]
    with pytest.raises(ValueError, match="read-only"):
        channel[0] = 1


def test_a_colour_image_gives_one_channel_per_component():
    array = np.random.default_rng(0).integers(0, 255, (5, 6, 3)).astype(np.uint8)
    image = sitk.GetImageFromArray(array, isVector=True)
    volume = Volume.from_images([image], "fundus")
    assert [channel.shape for channel in volume.channels] == [(1, 5, 6)] * 3
    assert all(np.array_equal(channel[0], array[..., number]) for number, channel in enumerate(volume.channels))


def test_channels_on_different_grids_are_refused_with_the_way_out():
    one, other = make_image(np.zeros((4, 5, 6), np.uint8)), make_image(np.zeros((4, 5, 6), np.uint8), spacing=(1, 1, 1))
    with pytest.raises(UserError, match=r"case_1: image 2 .* spacings differ .* --resample-channels"):
        Volume.from_images([one, other], "case_1")
