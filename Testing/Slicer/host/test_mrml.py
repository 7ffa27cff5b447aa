"""The core: scene, logics, files, application."""

import numpy as np
import pytest
import qt
import slicer
import vtk


@pytest.fixture
def volume(scene):
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    matrix = np.array([[-2.0, 0, 0, 10], [0, -1.5, 0, 20], [0, 0, 3, -30], [0, 0, 0, 1]])
    return slicer.util.addVolumeFromArray(array, ijkToRAS=matrix, name="CT")


@pytest.fixture
def segmentation(scene, volume):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = node.GetSegmentation().AddEmptySegment("liver", "Liver", [0.8, 0.2, 0.1])
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1:3, 1:4, 2:5] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(labels, node, segment, volume)
    return node


def test_the_scene_is_the_applications(host, scene):
    assert slicer.mrmlScene is scene
    assert slicer.app.mrmlScene() is scene
    assert slicer.app.applicationLogic().GetMRMLScene() is scene


def test_modules_have_their_real_logics(scene):
    assert slicer.modules.segmentations.logic().IsA("vtkSlicerSegmentationsModuleLogic")
    assert slicer.util.getModuleLogic("Volumes") is slicer.modules.volumes.logic()
    with pytest.raises(AttributeError):
        slicer.modules.segmentation  # noqa: B018


def test_what_slicer_util_has_is_not_in_slicer(scene):
    assert not hasattr(slicer, "getNode")
    assert slicer.util.getNode("vtkMRMLColorTableNodeGrey") is not None


def test_a_volume_comes_back_from_a_file(scene, volume, tmp_path):
    path = tmp_path / "größe 1.nrrd"
    assert slicer.util.saveNode(volume, str(path))
    loaded = slicer.util.loadVolume(str(path), {"name": "back"})
    assert loaded.GetName() == "back"
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(volume))
    np.testing.assert_allclose(loaded.GetSpacing(), (2.0, 1.5, 3.0))


def test_a_segmentation_comes_back_from_a_file(scene, volume, segmentation, tmp_path):
    slicer.util.saveNode(segmentation, str(tmp_path / "organs.seg.nrrd"))
    loaded = slicer.util.loadSegmentation(str(tmp_path / "organs.seg.nrrd"))
    segment = loaded.GetSegmentation().GetNthSegment(0)
    assert segment.GetName() == "Liver"
    labels = slicer.util.arrayFromSegmentBinaryLabelmap(loaded, loaded.GetSegmentation().GetNthSegmentID(0), volume)
    assert labels.sum() == 18


def test_exporting_leaves_the_node_as_it_was(scene, volume, tmp_path):
    assert slicer.util.exportNode(volume, str(tmp_path / "copy.nii.gz"))
    assert volume.GetStorageNode() is None
    assert (tmp_path / "copy.nii.gz").is_file()
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 1


@pytest.mark.parametrize("name", ["scene.mrb", "folder"])
def test_a_scene_comes_back(scene, volume, segmentation, tmp_path, name):
    assert slicer.util.saveScene(str(tmp_path / name))
    scene.Clear(False)
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []
    path = tmp_path / name
    slicer.util.loadScene(str(path if path.is_file() else next(path.glob("*.mrml"))))
    loaded = slicer.util.getNode("Organs")
    assert loaded.GetSegmentation().GetNthSegment(0).GetName() == "Liver"
    assert slicer.util.arrayFromVolume(slicer.util.getNode("CT")).shape == (4, 5, 6)


def test_a_missing_file_is_an_error(scene, tmp_path):
    with pytest.raises(RuntimeError, match="Failed to load"):
        slicer.util.loadVolume(str(tmp_path / "nowhere.nrrd"))


def test_closing_the_scene_tells_and_keeps_what_belongs_to_the_application(host, scene, volume):
    events = []
    tags = [
        scene.AddObserver(event, lambda caller, name: events.append(name))
        for event in (scene.StartCloseEvent, scene.EndCloseEvent)
    ]
    scene.Clear()
    for tag in tags:
        scene.RemoveObserver(tag)
    assert len(events) == 2
    assert scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode") == 3
    assert slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().GetScene() is scene
    assert slicer.app.layoutManager().threeDWidget(0).mrmlViewNode().GetScene() is scene


def test_new_nodes_have_an_item_in_the_subject_hierarchy(scene, volume):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert hierarchy.GetItemByDataNode(volume)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Case")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), folder)


def test_slice_views_show_what_they_are_told(scene, volume):
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    slicer.util.resetSliceViews()
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == volume.GetID()


def test_errors_of_vtk_are_collected(host, scene):
    vtk.vtkXMLImageDataReader().Update()
    assert "vtkXMLImageDataReader" in host.faults.report()
    assert host.faults.take_vtk_errors()
    assert host.faults.report() == ""


def test_settings_are_shared_and_start_empty(host, scene):
    slicer.app.settings().setValue("DinoUNetSlicer/Device", "cpu")
    assert qt.QSettings().value("DinoUNetSlicer/Device") == "cpu"
    assert slicer.util.settingsValue("DinoUNetSlicer/Device", "auto") == "cpu"
    host.reset()
    assert slicer.util.settingsValue("DinoUNetSlicer/Device", "auto") == "auto"


def test_the_application_tells_when_it_quits(scene):
    told = []

    def quitting():
        told.append("quit")

    slicer.app.connect("aboutToQuit()", quitting)
    slicer.app.aboutToQuit.emit()
    slicer.app.disconnect("aboutToQuit()", quitting)
    assert told == ["quit"]


def test_unknown_attributes_of_the_application_are_caught(scene):
    with pytest.raises(AttributeError):
        slicer.app.pythonManagr()
    with pytest.raises(TypeError):
        slicer.app.slicerHome()
