"""Markups ROIs as boxes of voxels."""

import numpy as np
import pytest
from slicer_geometry import oblique, rigid, vtk_matrix

from DinoUNetSlicerLib.errors import UserError
from DinoUNetSlicerLib.regions import box_of, whole_box


@pytest.fixture
def make_roi(scene):
    """make_roi(centre in RAS mm, size in mm, axes=None): a ROI, turned like the columns of axes."""

    def make(centre, size, axes=None):
        node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
        matrix = np.eye(4)
        matrix[:3, :3] = np.eye(3) if axes is None else axes
        matrix[:3, 3] = centre
        node.SetSize(*size)
        node.SetAndObserveObjectToNodeMatrix(vtk_matrix(matrix))
        return node

    return make


def test_a_box_in_a_plain_volume(make_volume, make_roi):
    volume = make_volume(np.zeros((20, 30, 40), np.uint8))  # 1 mm, RAS
    assert box_of(make_roi((10, 12, 8), (4, 6, 2)), volume) == [[8, 13], [9, 16], [7, 10]]


def test_borders_between_voxels_take_no_further_voxel(make_volume, make_roi):
    volume = make_volume(np.zeros((20, 30, 40), np.uint8))
    assert box_of(make_roi((10, 12, 8), (3, 5, 1)), volume) == [[9, 12], [10, 15], [8, 9]]


def test_a_box_turned_like_the_volume_is_exact(make_volume, make_roi):
    matrix = oblique(4)
    volume = make_volume(np.zeros((20, 30, 40), np.uint8), matrix)
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    centre = (matrix @ [10, 12, 8, 1])[:3]
    size = (3 * 0.7, 5 * 0.8, 1 * 3.0)
    assert box_of(make_roi(centre, size, axes), volume) == [[9, 12], [10, 15], [8, 9]]


def test_a_turned_box_is_wholly_inside_what_is_segmented(make_volume, make_roi):
    matrix, axes = oblique(4), oblique(7, spacing=(1, 1, 1))[:3, :3]
    volume = make_volume(np.zeros((200, 200, 200), np.uint8), matrix)
    centre = (matrix @ [100, 100, 100, 1])[:3]
    box = np.array(box_of(make_roi(centre, (10, 12, 14), axes), volume))
    inside = centre + (np.random.default_rng(0).uniform(-0.5, 0.5, (1000, 3)) * (10, 12, 14)) @ axes.T
    voxels = (np.c_[inside, np.ones(1000)] @ np.linalg.inv(matrix).T)[:, :3]
    assert (voxels >= box[:, 0] - 0.5).all()
    assert (voxels <= box[:, 1] - 0.5).all()


def test_transforms_of_both_count(make_volume, make_roi, make_transform):
    volume = make_volume(np.zeros((20, 30, 40), np.uint8))
    roi = make_roi((10, 12, 8), (3, 5, 1))
    transform = make_transform(rigid(3))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    roi.SetAndObserveTransformNodeID(transform.GetID())
    assert box_of(roi, volume) == [[9, 12], [10, 15], [8, 9]]


def test_what_sticks_out_is_cut_off(make_volume, make_roi):
    volume = make_volume(np.zeros((20, 30, 40), np.uint8))
    assert box_of(make_roi((0, 0, 0), (500, 500, 500)), volume) == whole_box(volume) == [[0, 40], [0, 30], [0, 20]]


def test_a_region_elsewhere_or_without_size_is_refused(make_volume, make_roi):
    volume = make_volume(np.zeros((20, 30, 40), np.uint8))
    with pytest.raises(UserError, match="outside CT"):
        box_of(make_roi((500, 0, 0), (3, 3, 3)), volume)
    with pytest.raises(UserError, match="no size"):
        box_of(make_roi((0, 0, 0), (0, 3, 3)), volume)
