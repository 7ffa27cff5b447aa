"""Surfaces of a segmentation's segments, made a few at a time."""

import time

import numpy as np
import pytest
import qt
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from DinoUNetCore.volume.labels import default_labels
from DinoUNetSlicerLib import surfaces
from DinoUNetSlicerLib.segmentations import Result, fill, new_segmentation

VALUES = {"liver": 5, "kidney_left": 2, "spleen": 7}


@pytest.fixture
def volume(make_volume):
    return make_volume(np.zeros((12, 14, 16), np.int16), np.eye(4))


def result_of(labels, values=VALUES):
    structures = default_labels({"background": 0, **values})
    counts = {str(value): int((labels == value).sum()) for value in values.values()}
    region = [[0, count] for count in reversed(labels.shape)]
    return Result(labels, region, {"labels": [label.to_json() for label in structures], "found": counts})


def boxes(shift=0):
    labels = np.zeros((12, 14, 16), np.uint16)
    for number, value in enumerate(VALUES.values()):
        labels[4 * number : 4 * number + 3, 3:7, 4 + shift : 9 + shift] = value
    return labels


@pytest.fixture
def shown(volume):
    node = new_segmentation("result")
    fill(node, volume, result_of(boxes()))
    node.CreateClosedSurfaceRepresentation()
    return node


def points(node):
    """Per segment the points of its surface; None if it has none."""
    segmentation = node.GetSegmentation()
    meshes = [segmentation.GetSegment(key).GetRepresentation("Closed surface") for key in segmentation.GetSegmentIDs()]
    return [None if mesh is None else vtk_to_numpy(mesh.GetPoints().GetData()) for mesh in meshes]


def expected(volume, labels):
    fresh = new_segmentation("fresh")
    fill(fresh, volume, result_of(labels))
    fresh.CreateClosedSurfaceRepresentation()
    return points(fresh)


def handle_events(milliseconds=500):
    for _ in range(milliseconds // 10):
        slicer.app.processEvents(qt.QEventLoop.AllEvents, 10)
        time.sleep(0.01)


def test_one_surface_is_made_in_each_turn_of_the_event_loop(shown, volume):
    fill(shown, volume, result_of(boxes(3)), surfaces.make_by_and_by)
    number_made = [sum(found is not None for found in points(shown))]
    for _ in range(100):
        handle_events(10)
        number_made.append(sum(found is not None for found in points(shown)))
    assert sorted(set(number_made)) == [0, 1, 2, 3] and sorted(number_made) == number_made
    for found, right in zip(points(shown), expected(volume, boxes(3)), strict=True):
        np.testing.assert_array_equal(found, right)


def test_they_are_slicers_own_with_the_segmentations_parameters(shown, volume):
    segmentation = shown.GetSegmentation()
    segmentation.SetConversionParameter("Smoothing factor", "0.0")
    fill(shown, volume, result_of(boxes(2)))
    unsmoothed = points(shown)
    segmentation.RemoveRepresentation("Closed surface")
    shown.CreateClosedSurfaceRepresentation()
    for found, right in zip(unsmoothed, points(shown), strict=True):
        np.testing.assert_array_equal(found, right)
    assert not np.array_equal(unsmoothed[0], expected(volume, boxes(2))[0])


def test_the_surface_of_a_segment_that_stays_is_kept_wherever_it_stands(shown, volume):
    kept = shown.GetSegmentation().GetNthSegment(2).GetRepresentation("Closed surface")
    part = {name: value for name, value in VALUES.items() if name != "spleen"}
    fill(shown, volume, result_of(np.where(boxes(2) == 7, 0, boxes(2)), part), surfaces.make_by_and_by)
    handle_events()
    assert shown.GetSegmentation().GetNthSegment(2).GetRepresentation("Closed surface") is kept
    assert all(found is not None for found in points(shown))


@pytest.mark.parametrize("end", ["hidden", "removed", "closed"])
def test_the_work_ends_with_the_wish_to_see_them(shown, volume, end):
    fill(shown, volume, result_of(boxes(3)), surfaces.make_by_and_by)
    while points(shown)[0] is None:
        handle_events(10)
    if end == "hidden":
        shown.GetDisplayNode().SetVisibility3D(False)
    elif end == "removed":
        shown.GetSegmentation().RemoveRepresentation("Closed surface")
    else:
        slicer.mrmlScene.RemoveNode(shown)
    handle_events()
    assert points(shown)[1:] == [None, None]
