"""Volume nodes on their way to the engine."""

import numpy as np
import pytest
import slicer
import vtk
from slicer_geometry import oblique, rigid

from DinoUNetSlicerLib.errors import UserError
from DinoUNetSlicerLib.volumes import channels_of, pieces, without_alpha

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def positions(description):
    """4 x 4: voxel indices to LPS, from what the engine is told."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(description["direction"]).reshape(3, 3) * np.array(description["spacing"])
    matrix[:3, 3] = description["origin"]
    return matrix


@pytest.mark.parametrize("left_handed", [False, True])
def test_every_voxel_keeps_its_place(make_volume, left_handed):
    matrix = oblique(3, left_handed=left_handed)
    node = make_volume(np.zeros((4, 5, 6), np.int16), matrix)
    (channel,) = channels_of([node])
    assert channel.description["size"] == [6, 5, 4]
    np.testing.assert_allclose(positions(channel.description), LPS @ matrix, atol=1e-12)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
def test_all_voxels_are_sent_in_order(make_volume, dtype):
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(dtype)
    (channel,) = channels_of([make_volume(array)])
    sent = np.frombuffer(b"".join(pieces([channel])), channel.description["dtype"]).reshape(array.shape)
    np.testing.assert_array_equal(sent, array)


def test_pieces_are_no_larger_than_a_frame_takes(make_volume):
    channels = channels_of([make_volume(np.zeros((40, 200, 200), np.int16))])
    lengths = [len(piece) for piece in pieces(channels)]
    assert max(lengths) <= 1 << 20
    assert sum(lengths) == 40 * 200 * 200 * 2


def test_a_colour_picture_is_one_image_with_components(make_volume):
    array = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    (channel,) = channels_of([make_volume(array, class_name="vtkMRMLVectorVolumeNode")])
    assert (channel.components, channel.description["size"]) == (4, [4, 3, 2])
    opaque = without_alpha(channel)
    assert opaque.components == 3
    np.testing.assert_array_equal(opaque.array, array[..., :3])


def test_volumes_under_the_same_transform_need_none(make_volume, make_transform):
    transform = make_transform(rigid(1))
    first, second = (make_volume(np.zeros((2, 3, 4), np.uint8)) for _ in range(2))
    for node in (first, second):
        node.SetAndObserveTransformNodeID(transform.GetID())
    assert channels_of([first, second])[1].description["transform"] is None


def test_a_volume_under_nested_transforms_is_described_in_the_firsts_space(make_volume, make_transform):
    outer, inner = rigid(1), rigid(2)
    parent = make_transform(outer)
    first, second = (make_volume(np.zeros((2, 3, 4), np.uint8), oblique(seed)) for seed in (5, 6))
    first.SetAndObserveTransformNodeID(parent.GetID())
    second.SetAndObserveTransformNodeID(make_transform(inner, parent).GetID())
    description = channels_of([first, second])[1].description
    transform = np.array(description["transform"]).reshape(4, 4)
    # the second's voxels in the world are outer @ inner @ IJKToRAS; the first's space is the world without outer
    np.testing.assert_allclose(transform @ positions(description), LPS @ inner @ oblique(6), atol=1e-9)
    assert transform[3].tolist() == [0, 0, 0, 1]


def test_what_cannot_be_sent_is_refused_with_the_nodes_name(make_volume, scene):
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing in it")
    with pytest.raises(UserError, match="nothing in it has no voxels"):
        channels_of([empty])
    sheared = oblique(0)
    sheared[:3, 0] += 0.3 * sheared[:3, 1]
    with pytest.raises(UserError, match="tilted has sheared axes"):
        channels_of([make_volume(np.zeros((2, 3, 4), np.uint8), sheared, "tilted")])


def test_a_second_volume_under_a_bent_transform_is_refused(make_volume, scene):
    first, second = make_volume(np.zeros((2, 3, 4), np.uint8)), make_volume(np.zeros((2, 3, 4), np.uint8), name="bent")
    grid = scene.AddNewNodeByClass("vtkMRMLGridTransformNode")
    spline = vtk.vtkThinPlateSplineTransform()
    grid.SetAndObserveTransformToParent(spline)
    second.SetAndObserveTransformNodeID(grid.GetID())
    with pytest.raises(UserError, match="bent lies under a transform that is not linear"):
        channels_of([first, second])


def test_the_scene_stays_as_it_was(make_volume):
    node = make_volume(np.ones((2, 3, 4), np.int16))
    before = slicer.mrmlScene.GetNumberOfNodes(), node.GetMTime()
    list(pieces(channels_of([node])))
    assert (slicer.mrmlScene.GetNumberOfNodes(), node.GetMTime()) == before
