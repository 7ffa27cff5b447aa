"""Pictures of the views."""

import numpy as np
import pytest
import slicer
from Host.views import rendering


@pytest.fixture
def segmentation(scene):
    volume = slicer.util.addVolumeFromArray(np.full((40, 40, 40), 100, np.int16), name="CT")
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().AutoWindowLevelOff()
    volume.GetDisplayNode().SetWindowLevel(200, 100)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = node.GetSegmentation().AddEmptySegment("ball", "Ball", [1.0, 0.0, 0.0])
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[10:30, 10:30, 10:30] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(labels, node, segment, volume)
    slicer.util.setSliceViewerLayers(background=volume)
    return node


def redness(picture: np.ndarray) -> np.ndarray:
    return picture[..., 0].astype(int) - picture[..., 1]


def test_a_slice_view_shows_the_volume_in_grey_and_the_segment_in_its_colour(segmentation):
    picture = rendering.slice_picture("Red", (200, 200), offset=20.0)
    assert picture.shape == (200, 200, 3)
    assert redness(picture)[100, 100] > 40
    assert redness(picture)[20, 20] == 0
    assert 90 < picture[20, 20, 0] < 160


def test_a_slice_beside_the_segment_is_grey(segmentation):
    assert redness(rendering.slice_picture("Yellow", (200, 200), offset=5.0)).max() == 0


def test_the_3d_view_shows_the_surface(segmentation):
    before = redness(rendering.three_d_picture((200, 200)))
    segmentation.CreateClosedSurfaceRepresentation()
    after = redness(rendering.three_d_picture((200, 200)))
    assert before.max() <= 0
    assert (after > 40).mean() > 0.1


def test_four_views_make_one_picture(segmentation, tmp_path):
    segmentation.CreateClosedSurfaceRepresentation()
    picture = rendering.four_views((300, 200))
    assert picture.shape == (200, 300, 3)
    rendering.save_png(picture, tmp_path / "views.png")
    assert (tmp_path / "views.png").stat().st_size > 500
