"""Results on their way into the scene."""

import numpy as np
import pytest
import slicer
import vtk
from slicer_geometry import oblique, rigid
from vtk.util.numpy_support import vtk_to_numpy

from DinoUNetCore.volume.labels import default_labels
from DinoUNetSlicerLib.errors import UserError
from DinoUNetSlicerLib.regions import whole_box
from DinoUNetSlicerLib.segmentations import Result, check_output, fill, new_segmentation, segments_by_name

SHAPE = (12, 14, 16)


def make_result(labels, values, region=None):
    structures = default_labels({"background": 0, **values})
    counts = {str(value): int((labels == value).sum()) for value in values.values()}
    region = region or [[0, count] for count in reversed(labels.shape)]
    return Result(labels, region, {"labels": [label.to_json() for label in structures], "found": counts})


def voxels(node, name, volume):
    """(K, J, I) bool of a segment on the volume's grid."""
    identity = segments_by_name(node.GetSegmentation())[name]
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, identity, volume) != 0


@pytest.fixture
def volume(make_volume):
    return make_volume(np.zeros(SHAPE, np.int16), oblique(1))


@pytest.fixture
def labels():
    labels = np.zeros(SHAPE, np.uint16)
    labels[2:5, 3:7, 4:9] = 5
    labels[6:8, 3:7, 4:9] = 2
    labels[9, 9, 9] = 300
    return labels


VALUES = {"liver": 5, "kidney_left": 2, "10": 300, "2": 17}


@pytest.mark.parametrize("left_handed", [False, True])
def test_every_voxel_lies_where_the_volumes_does(make_volume, labels, left_handed):
    volume = make_volume(np.zeros(SHAPE, np.int16), oblique(1, left_handed=left_handed))
    node = new_segmentation("result")
    fill(node, volume, make_result(labels, VALUES))
    for name in ("liver", "kidney_left", "10"):
        np.testing.assert_array_equal(voxels(node, name, volume), labels == VALUES[name])
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segments_by_name(node.GetSegmentation())["liver"], image)
    to_world = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(to_world)
    ours = np.array([[to_world.GetElement(r, c) for c in range(4)] for r in range(4)])
    np.testing.assert_allclose(ours, oblique(1, left_handed=left_handed), atol=1e-9)


def test_names_colours_and_codes_are_the_models(volume, labels):
    node = new_segmentation("result")
    fill(node, volume, make_result(labels, VALUES))
    segmentation = node.GetSegmentation()
    assert set(segments_by_name(segmentation)) == {"liver", "kidney_left", "10"}  # what was not found has no segment
    expected = {label.name: label for label in default_labels(VALUES)}
    for name, identity in segments_by_name(segmentation).items():
        segment = segmentation.GetSegment(identity)
        np.testing.assert_allclose(np.array(segment.GetColor()) * 255, expected[name].color, atol=0.5)
    liver = segmentation.GetSegment(segments_by_name(segmentation)["liver"])
    tag = vtk.reference("")
    assert liver.GetTag(liver.GetTerminologyEntryTagName(), tag)
    assert "~SCT^10200004^Liver~" in str(tag)
    assert segmentation.GetNumberOfLayers() == 1


def test_it_lies_under_the_volumes_transform_and_subject(volume, labels, make_transform):
    transform = make_transform(rigid(2), make_transform(rigid(3)))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    node = new_segmentation("result")
    fill(node, volume, make_result(labels, VALUES))
    assert node.GetTransformNodeID() == transform.GetID()
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    np.testing.assert_array_equal(voxels(node, "liver", volume), labels == 5)


def test_only_the_models_segments_of_an_existing_segmentation_are_replaced(volume, labels):
    node = new_segmentation("mine")
    fill(node, volume, make_result(labels, VALUES))
    segmentation = node.GetSegmentation()
    drawn = segmentation.AddEmptySegment("", "drawn by hand")
    slicer.util.updateSegmentBinaryLabelmapFromArray((labels == 300).astype(np.uint8), node, drawn, volume)
    liver = segments_by_name(segmentation)["liver"]
    order = [segmentation.GetNthSegment(index).GetName() for index in range(segmentation.GetNumberOfSegments())]

    changed = np.roll(labels, 1, axis=0)
    changed[changed == 2] = 0
    fill(node, volume, make_result(changed, VALUES))
    assert segments_by_name(segmentation)["liver"] == liver  # tables and effects that know its id keep it
    np.testing.assert_array_equal(voxels(node, "liver", volume), changed == 5)
    np.testing.assert_array_equal(voxels(node, "drawn by hand", volume), labels == 300)
    names = [segmentation.GetNthSegment(index).GetName() for index in range(segmentation.GetNumberOfSegments())]
    assert names == [name for name in order if name != "kidney_left"]


def test_outside_the_region_segments_stay(volume, labels):
    node = new_segmentation("result")
    fill(node, volume, make_result(labels, VALUES))
    region = [[0, 16], [0, 5], [0, 12]]
    part = np.zeros((12, 5, 16), np.uint16)
    part[2:4, 1:3, 1:3] = 5
    fill(node, volume, make_result(part, VALUES, region))
    expected = np.where(np.arange(14)[None, :, None] < 5, np.pad(part, ((0, 0), (0, 9), (0, 0))), labels)
    for name in ("liver", "kidney_left", "10"):
        np.testing.assert_array_equal(voxels(node, name, volume), expected == VALUES[name])


def test_overlapping_segments_outside_the_region_stay_whole(volume, labels):
    node = new_segmentation("result")
    fill(node, volume, make_result(labels, VALUES))
    grown = labels > 0  # a user has drawn the liver over the kidney
    identity = segments_by_name(node.GetSegmentation())["liver"]
    slicer.util.updateSegmentBinaryLabelmapFromArray(grown.astype(np.uint8), node, identity, volume)
    kidney = voxels(node, "kidney_left", volume)
    fill(node, volume, make_result(np.zeros((12, 14, 2), np.uint16), VALUES, [[0, 2], [0, 14], [0, 12]]))
    np.testing.assert_array_equal(voxels(node, "liver", volume), grown)
    np.testing.assert_array_equal(voxels(node, "kidney_left", volume), kidney)


def test_a_region_alone_fills_a_new_segmentation(volume, labels):
    region = [[4, 9], [3, 7], [2, 8]]
    node = new_segmentation("result")
    fill(node, volume, make_result(labels[2:8, 3:7, 4:9], VALUES, region))
    np.testing.assert_array_equal(voxels(node, "liver", volume), labels == 5)
    assert "10" not in segments_by_name(node.GetSegmentation())


def surfaces(node):
    """{name: points of its closed surface, None if it has none}."""
    segmentation, points = node.GetSegmentation(), {}
    for name, identity in segments_by_name(segmentation).items():
        mesh = segmentation.GetSegment(identity).GetRepresentation("Closed surface")
        points[name] = mesh and vtk_to_numpy(mesh.GetPoints().GetData())
    return points


@pytest.mark.parametrize("values", [VALUES, {"liver": 5}])
def test_surfaces_that_are_shown_follow(volume, labels, values):
    node, fresh = new_segmentation("result"), new_segmentation("fresh")
    labels = np.where(np.isin(labels, list(values.values())), labels, 0)
    fill(node, volume, make_result(labels, values))
    assert node.CreateClosedSurfaceRepresentation()
    moved = make_result(np.roll(labels, 2, axis=2), values)
    fill(node, volume, moved)
    fill(fresh, volume, moved)
    fresh.CreateClosedSurfaceRepresentation()
    expected = surfaces(fresh)
    for name, points in surfaces(node).items():
        np.testing.assert_array_equal(points, expected[name])


def test_surfaces_of_other_segments_are_not_computed_again(volume, labels):
    node = new_segmentation("result")
    fill(node, volume, make_result(labels, VALUES))
    node.CreateClosedSurfaceRepresentation()
    segment = node.GetSegmentation().GetSegment(segments_by_name(node.GetSegmentation())["10"])
    before = segment.GetRepresentation("Closed surface")
    fill(node, volume, make_result(np.where(labels == 5, labels, 0), {"liver": 5}))
    assert segment.GetRepresentation("Closed surface") is before


@pytest.mark.parametrize("hide", ["SetVisibility", "SetVisibility3D"])
def test_surfaces_that_are_hidden_are_dropped(volume, labels, hide):
    node = new_segmentation("result")
    fill(node, volume, make_result(labels, VALUES))
    node.CreateClosedSurfaceRepresentation()
    getattr(node.GetDisplayNode(), hide)(False)
    fill(node, volume, make_result(labels, VALUES))
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")


def test_a_segmentation_of_surfaces_is_refused_as_output(volume, labels):
    node = new_segmentation("surfaces")
    fill(node, volume, make_result(labels, VALUES))
    node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    with pytest.raises(UserError, match="surfaces is made of closed surfaces"):
        check_output(node, volume)


def test_an_output_under_another_transform_is_refused(volume, labels, make_transform):
    """Moving it would move the segments that its user has there."""
    node = new_segmentation("elsewhere")
    fill(node, volume, make_result(labels, VALUES))
    node.SetAndObserveTransformNodeID(make_transform(rigid(4)).GetID())
    with pytest.raises(UserError, match="elsewhere lies under another transform than CT"):
        fill(node, volume, make_result(labels, VALUES))


def test_an_existing_segmentation_stays_where_its_user_has_filed_it(volume, labels):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    node = new_segmentation("result")
    fill(node, volume, make_result(labels, VALUES))
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "mine")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), folder)
    fill(node, volume, make_result(labels, VALUES))
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == folder


def test_many_structures_and_large_values(volume):
    values = {f"structure {number}": 7 * number for number in range(1, 301)}
    labels = np.zeros(SHAPE, np.uint16)
    labels.reshape(-1)[:300] = list(values.values())
    node = new_segmentation("result")
    fill(node, volume, make_result(labels, values))
    assert node.GetSegmentation().GetNumberOfSegments() == 300
    for number in (1, 255, 256, 300):
        np.testing.assert_array_equal(voxels(node, f"structure {number}", volume), labels == 7 * number)


def test_it_survives_a_file_with_names_in_any_script(volume, labels, tmp_path):
    values = {"Leber größer": 5, "肝臓": 2, "10": 300}
    node = new_segmentation("result")
    fill(node, volume, make_result(labels, values))
    path = tmp_path / "Größe 肝.seg.nrrd"
    assert slicer.util.saveNode(node, str(path))
    loaded = slicer.util.loadSegmentation(str(path))
    assert set(segments_by_name(loaded.GetSegmentation())) == set(values)
    np.testing.assert_array_equal(voxels(loaded, "肝臓", volume), labels == 2)


def test_the_reference_grid_is_the_volumes(volume, labels):
    node = new_segmentation("result")
    fill(node, volume, make_result(labels, VALUES))
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume
    assert whole_box(volume) == [[0, 16], [0, 14], [0, 12]]
