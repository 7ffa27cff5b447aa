"""Resampling keeps structures where they are."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.resampling import resample_onto, resize, target_size
from DinoUNetCore.volume.volume import Grid


@pytest.mark.parametrize(
    ("size", "spacing", "target", "expected"),
    [
        ((100, 50), (1.0, 2.0), (0.5, 0.5), (200, 200)),
        ((100, 50), (1.0, 1.0), (3.0, 3.0), (33, 17)),
        ((3, 3), (0.1, 0.1), (10.0, 10.0), (1, 1)),
    ],
)
def test_the_target_size_keeps_the_field_of_view(size, spacing, target, expected):
    assert target_size(size, spacing, target) == expected


def test_resizing_to_the_same_size_changes_nothing():
    images = torch.rand(2, 3, 7, 9)
    assert torch.equal(resize(images, (7, 9)), images)


@pytest.mark.parametrize("size", [(14, 18), (4, 5), (14, 5), (21, 9)])
def test_a_ramp_stays_a_ramp_at_the_same_places(size):
    rows, columns = torch.meshgrid(torch.arange(7.0) + 0.5, torch.arange(9.0) + 0.5, indexing="ij")
    result = resize(torch.stack([rows / 7, columns / 9])[None], size)
    expected_rows = (torch.arange(size[0]) + 0.5) / size[0]
    expected_columns = (torch.arange(size[1]) + 0.5) / size[1]
    inner = (slice(2, -2), slice(2, -2)) if min(size) > 5 else (slice(1, -1), slice(1, -1))
    assert torch.allclose(result[0, 0][inner], expected_rows[:, None].expand(size)[inner], atol=0.02)
    assert torch.allclose(result[0, 1][inner], expected_columns[None].expand(size)[inner], atol=0.02)


def test_shrinking_averages_instead_of_skipping():
    lines = (torch.arange(64) % 8 == 0).float().expand(1, 1, 64, 64)  # none of them is at the centre of a new pixel
    assert resize(lines, (8, 8))[..., 2:-2].mean() == pytest.approx(1 / 8, abs=0.02)


def make_ramp(size, spacing, origin, pixel_type=sitk.sitkFloat32) -> sitk.Image:
    """An image whose values are its x positions in mm."""
    image = sitk.Image(size, sitk.sitkFloat32)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    positions = sitk.PhysicalPointSource(sitk.sitkVectorFloat32, size, origin, spacing, image.GetDirection())
    return sitk.Cast(sitk.VectorIndexSelectionCast(positions, 0), pixel_type)


def test_channels_are_brought_onto_a_grid_in_world_space():
    image = make_ramp((30, 30, 30), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    reference = make_ramp((10, 11, 12), (0.7, 0.9, 1.1), (4.0, 5.0, 6.0))
    result = resample_onto(image, reference)
    assert result.GetSize() == reference.GetSize()
    assert np.allclose(sitk.GetArrayFromImage(result), sitk.GetArrayFromImage(reference), atol=1e-4)


def test_outside_the_field_of_view_the_smallest_value_is_taken():
    image = sitk.Cast(make_ramp((10, 10, 10), (1.0,) * 3, (-5.0, 0.0, 0.0)), sitk.sitkInt16)
    result = resample_onto(image, make_ramp((20, 10, 10), (1.0,) * 3, (0.0, 0.0, 0.0)))
    assert sitk.GetArrayFromImage(result)[:, :, 10:].max() == -5


def test_whole_numbers_are_interpolated_not_cut_off():
    image = sitk.Cast(make_ramp((10, 4, 4), (1.0,) * 3, (0.0,) * 3), sitk.sitkInt16)
    result = resample_onto(image, make_ramp((9, 4, 4), (1.0,) * 3, (0.75, 0.0, 0.0)))
    assert np.allclose(sitk.GetArrayFromImage(result)[..., :8], np.arange(8) + 0.75)


def test_colour_pictures_are_resampled_per_component():
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8), isVector=True)
    assert np.array_equal(sitk.GetArrayFromImage(resample_onto(image, image)), sitk.GetArrayFromImage(image))


def test_images_of_different_places_are_refused():
    image, reference = make_ramp((5, 5, 5), (1.0,) * 3, (0.0,) * 3), make_ramp((5, 5, 5), (1.0,) * 3, (100.0, 0.0, 0.0))
    with pytest.raises(UserError, match=r"t2\.nii does not overlap"):
        resample_onto(image, reference, "t2.nii")


def test_a_picture_cannot_go_onto_a_volume():
    with pytest.raises(UserError, match="2D"):
        resample_onto(sitk.Image((5, 5), sitk.sitkUInt8), sitk.Image((5, 5, 5), sitk.sitkUInt8))


def affine(matrix, shift):
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = matrix, shift
    return transform


@pytest.mark.parametrize(
    "transform",
    [
        affine(np.eye(3), (4.0, -3.0, 2.5)),
        affine([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]], (5.0, 1.0, 0.0)),  # turned
        affine([[1.1, 0.3, -0.1], [0.0, 0.9, 0.2], [0.05, 0.0, 1.2]], (1.0, 2.0, -3.0)),  # sheared and stretched
        affine(np.diag([-1.0, 1.0, 1.0]), (40.0, 0.0, 0.0)),  # mirrored
    ],
)
def test_a_transform_brings_the_image_s_space_into_the_reference_s(transform):
    def value_at(positions):  # linear in space, so that linear interpolation is exact
        return positions @ np.array([1.0, -2.0, 0.5]) + 7.0

    image = sitk.Image((40, 40, 40), sitk.sitkFloat64)
    image.SetOrigin((-5.0, -4.0, -6.0))
    image.SetSpacing((1.1, 1.2, 1.3))
    image.SetDirection((0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    grid = Grid.of(image)
    indices = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    positions = np.array(grid.origin) + (indices * grid.spacing) @ grid.matrix.T
    for index, value in zip(indices.tolist(), value_at(positions), strict=True):
        image[index] = value
    reference = Grid((6, 5, 4), (1.5, 1.4, 2.0), (14.0, 12.0, 9.0), (0.8, 0.6, 0.0, -0.6, 0.8, 0.0, 0.0, 0.0, 1.0))
    result = resample_onto(image, reference, "PET", transform)
    assert Grid.of(result) == reference
    for index in ((0, 0, 0), (5, 0, 0), (0, 4, 0), (0, 0, 3), (3, 2, 1), (5, 4, 3)):
        in_image = np.linalg.inv(transform) @ [*reference.position(index), 1.0]
        assert result[index] == pytest.approx(value_at(in_image[:3]), abs=1e-6), index


def test_overlap_is_judged_under_the_transform():
    image, reference = make_ramp((5, 5, 5), (1.0,) * 3, (0.0,) * 3), make_ramp((5, 5, 5), (1.0,) * 3, (100.0, 0.0, 0.0))
    shifted = resample_onto(image, reference, "t2", affine(np.eye(3), (100.0, 0.0, 0.0)))
    assert np.array_equal(sitk.GetArrayFromImage(shifted), sitk.GetArrayFromImage(image))
    with pytest.raises(UserError, match="t2 does not overlap"):
        resample_onto(image, image, "t2", affine(np.eye(3), (100.0, 0.0, 0.0)))


@pytest.mark.parametrize("matrix", [np.zeros((3, 3)), np.diag([1.0, 1.0, 0.0]), np.diag([1.0, 1.0, 1e-12])])
def test_a_transform_that_cannot_be_inverted_is_refused(matrix):
    image = make_ramp((5, 5, 5), (1.0,) * 3, (0.0,) * 3)
    with pytest.raises(UserError, match="t2 lies under a transform that cannot be inverted"):
        resample_onto(image, image, "t2", affine(matrix, (0.0, 0.0, 0.0)))


def test_pictures_are_moved_within_their_plane():
    picture = sitk.GetImageFromArray(np.arange(30, dtype=np.float32).reshape(5, 6))
    moved = resample_onto(picture, picture, "b", affine(np.eye(3), (1.0, 2.0, 0.0)))
    assert np.array_equal(sitk.GetArrayFromImage(moved)[2:, 1:], sitk.GetArrayFromImage(picture)[:-2, :-1])
