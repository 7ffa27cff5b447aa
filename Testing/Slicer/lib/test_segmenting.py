"""Segmenting nodes with the real engine: the same voxels at the same places as the core's own result."""

import logging
import math
import sys

import numpy as np
import pytest
import qt
import SimpleITK as sitk
import slicer
import torch
from random_bundle import make_bundle
from slicer_geometry import oblique, rigid, vtk_matrix

from DinoUNetCore import Segmenter, load_bundle
from DinoUNetCore.dataset.phantom import PHANTOM_LABELS, make_phantom
from DinoUNetCore.inference.provenance import provenance
from DinoUNetCore.volume.resampling import resample_onto
from DinoUNetCore.weights import library
from DinoUNetSlicerLib.errors import UserError
from DinoUNetSlicerLib.segmentations import segments_by_name
from DinoUNetSlicerLib.volumes import image_to_ras

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture
def logic(engine):
    import DinoUNetSlicer

    return DinoUNetSlicer.DinoUNetSlicerLogic()


@pytest.fixture(scope="module")
def phantom():
    """A small phantom CT and its label map."""
    return make_phantom(1000, size=(96, 96, 24))


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter(load_bundle("phantom-tiny"), "cpu", threads=max(1, _cores() - 1))


def _cores():
    import os

    return os.cpu_count() or 1


def node_of(image, make_volume, name="CT"):
    """The image as a volume node with the same voxels, in the same order, at the same places."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    return make_volume(sitk.GetArrayFromImage(image), LPS @ matrix, name)


def label_map(node, volume, names):
    """(K, J, I) label values from a segmentation node, on the volume's grid."""
    result = np.zeros(slicer.util.arrayFromVolume(volume).shape[:3], np.int64)
    for name, identity in segments_by_name(node.GetSegmentation()).items():
        result[slicer.util.arrayFromSegmentBinaryLabelmap(node, identity, volume) != 0] = names[name]
    return result


def test_the_phantom_is_segmented_as_by_the_core_wherever_it_lies(logic, phantom, segmenter, make_volume):
    image, truth = phantom
    names = {label.name: label.value for label in segmenter.bundle.labels}
    expected = sitk.GetArrayFromImage(segmenter.segment(image))
    volume = node_of(image, make_volume)
    node = logic.segment(volume)
    np.testing.assert_array_equal(label_map(node, volume, names), expected)
    drawn = sitk.GetArrayFromImage(truth)
    liver = expected == names["liver"]
    true_liver = drawn == PHANTOM_LABELS["liver"]
    assert 2 * (liver & true_liver).sum() / (liver.sum() + true_liver.sum()) > 0.8

    # other storage orders, left-handed, cropped: the same engine serves all
    for axes, flips in (((2, 0, 1), (True, False, False)), ((1, 2, 0), (False, True, True))):
        turned = sitk.Flip(sitk.PermuteAxes(image, axes), flips)
        volume = node_of(turned, make_volume)
        result = label_map(logic.segment(volume, device="cpu"), volume, names)
        np.testing.assert_array_equal(result, sitk.GetArrayFromImage(segmenter.segment(turned)))
    cropped = image[10:80, 5:90, 3:20]
    volume = node_of(cropped, make_volume)
    expected = sitk.GetArrayFromImage(segmenter.segment(cropped))
    np.testing.assert_array_equal(label_map(logic.segment(volume), volume, names), expected)


def test_under_transforms_the_segmentation_lies_where_the_volume_is(
    logic, phantom, segmenter, make_volume, make_transform
):
    image, _ = phantom
    names = {label.name: label.value for label in segmenter.bundle.labels}
    volume = node_of(image, make_volume)
    volume.SetAndObserveTransformNodeID(make_transform(rigid(1), make_transform(rigid(2))).GetID())
    node = logic.segment(volume)
    assert node.GetTransformNodeID() == volume.GetTransformNodeID()
    expected = sitk.GetArrayFromImage(segmenter.segment(image))
    np.testing.assert_array_equal(label_map(node, volume, names), expected)


@pytest.mark.parametrize("dtype", ["int8", "bool", "int64", "uint64", "float64"])
def test_all_kinds_of_voxels_give_the_cores_result(logic, make_volume, segmenter, dtype):
    """Slicer's own conversion hangs for uint64, so the array is put into the node as VTK has it."""
    from vtk.util.numpy_support import numpy_to_vtk

    random = np.random.default_rng(0)
    array = random.integers(0, 2 if dtype == "bool" else 100, (3, 40, 40)).astype(dtype)
    stored = array.view(np.uint8) if dtype == "bool" else array
    volume = make_volume(np.zeros((3, 40, 40), np.uint8), LPS)
    scalars = numpy_to_vtk(stored.reshape(-1), deep=True)
    volume.GetImageData().GetPointData().SetScalars(scalars)
    node = logic.segment(volume)
    names = {label.name: label.value for label in segmenter.bundle.labels}
    expected = sitk.GetArrayFromImage(segmenter.segment(sitk.GetImageFromArray(stored)))
    np.testing.assert_array_equal(label_map(node, volume, names), expected)
    assert node.GetAttribute("DinoUNet.Model") == "phantom-tiny"


def test_fast_mode_is_the_cores_and_is_noted_with_the_node_until_a_plain_result_comes(logic, phantom, make_volume):
    bundle = load_bundle("phantom-tiny")
    fast = Segmenter(bundle, "cpu", fast=True)
    volume = node_of(phantom[0], make_volume)
    node = logic.segment(volume, fast=True)
    names = {label.name: label.value for label in bundle.labels}
    expected = sitk.GetArrayFromImage(fast.segment(phantom[0]))
    assert (label_map(node, volume, names) == expected).mean() > 0.9999
    noted = {name: node.GetAttribute(f"DinoUNet.{name}") for name in provenance(fast)}
    assert noted == provenance(fast) and noted["Options"] == "fast"
    logic.segment(volume, outputSegmentation=node)
    assert node.GetAttribute("DinoUNet.Options") is None
    assert node.GetAttribute("DinoUNet.ModelSHA256") == bundle.sha256[:12]


def test_a_limit_on_a_gpu_s_memory_reaches_the_engine_and_nonsense_is_told(logic, phantom, make_volume, caplog):
    volume = node_of(phantom[0], make_volume)
    with caplog.at_level(logging.WARNING):
        logic.segment(volume, device="cpu", maxMemory=2.5)
    assert "no effect on the CPU" in caplog.text
    for nonsense in (-1, "6 GB", True, math.nan, math.inf, None):
        with pytest.raises(UserError, match=rf"maxMemory is {nonsense!r}; give GB"):
            logic.segment(volume, maxMemory=nonsense)


def test_a_region_gives_its_part_of_the_whole_result(logic, phantom, segmenter, make_volume, make_transform):
    turned = sitk.Flip(sitk.PermuteAxes(phantom[0], (2, 0, 1)), (True, False, True))  # tilted and out of order
    names = {label.name: label.value for label in segmenter.bundle.labels}
    expected = sitk.GetArrayFromImage(segmenter.segment(turned))
    volume = node_of(turned, make_volume)
    transform = make_transform(rigid(5))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    to_ras = image_to_ras(volume)
    axes = to_ras[:3, :3] / np.linalg.norm(to_ras[:3, :3], axis=0)
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, (to_ras @ [9.5, 39.5, 49.5, 1])[:3]
    roi.SetSize(*(np.array([12, 40, 50]) * np.linalg.norm(to_ras[:3, :3], axis=0)))
    roi.SetAndObserveObjectToNodeMatrix(vtk_matrix(matrix))
    roi.SetAndObserveTransformNodeID(transform.GetID())
    inside = (slice(25, 75), slice(20, 60), slice(4, 16))  # KJI
    part = np.zeros_like(expected)
    part[inside] = expected[inside]
    assert part.any() and (part != expected).any()
    np.testing.assert_array_equal(label_map(logic.segment(volume, roi=roi, batchSize=1), volume, names), part)


def test_a_second_channel_elsewhere_is_brought_onto_the_first(logic, make_volume, make_transform, tmp_path):
    bundle = make_bundle(channels=("T1", "T2"))
    bundle.config["name"] = "two"
    bundle.save(tmp_path / "two")
    library.add(tmp_path / "two")
    random = np.random.default_rng(3)
    first = make_volume(random.normal(size=(4, 40, 44)).astype(np.float32), oblique(1, (1.0, 1.1, 3.0)), "T1")
    second_place = image_to_ras(first) @ np.diag([0.9, 0.8, 0.7, 1.0])  # finer, and then moved by a registration
    second = make_volume(random.normal(size=(6, 55, 50)).astype(np.float32), second_place, "T2")
    moved = np.eye(4)
    moved[:3, 3] = (2.0, -1.5, 0.5)
    second.SetAndObserveTransformNodeID(make_transform(moved).GetID())

    images = [image_of_node(node) for node in (first, second)]
    resampled = resample_onto(images[1], images[0], transform=LPS @ moved @ LPS)
    expected = sitk.GetArrayFromImage(Segmenter(bundle, "cpu", threads=1).segment([images[0], resampled]))
    names = {label.name: label.value for label in bundle.labels}
    node = logic.segment([first, second], "two", threads=1)
    np.testing.assert_array_equal(label_map(node, first, names), expected)


def image_of_node(node):
    """A volume node as a SimpleITK image, from the node's own matrix."""
    image = sitk.GetImageFromArray(slicer.util.arrayFromVolume(node))
    matrix = LPS @ image_to_ras(node)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    return image


def test_waiting_handles_many_events_a_round(scene):
    """What the engine sends comes as many events, and each round is followed by a pause."""
    from DinoUNetSlicerLib import segmenting

    handled, rounds = [], []

    def handle():
        handled.append(None)
        if len(handled) < 500:
            qt.QTimer.singleShot(0, handle)

    def ended():
        rounds.append(None)
        return len(handled) == 500

    handle()
    segmenting.wait_until(ended)
    assert len(rounds) < 250


def test_a_single_slice_is_segmented(logic, phantom, segmenter, make_volume):
    image = phantom[0][:, :, 12:13]
    names = {label.name: label.value for label in segmenter.bundle.labels}
    volume = node_of(image, make_volume)
    expected = sitk.GetArrayFromImage(segmenter.segment(image))
    assert expected.any()
    np.testing.assert_array_equal(label_map(logic.segment(volume), volume, names), expected)


def test_a_colour_picture_is_segmented_in_its_pixels(logic, make_volume, tmp_path):
    bundle = make_bundle(channels=("R", "G", "B"), dimension=2, normalization=[{"scheme": "rgb"}] * 3)
    bundle.config["name"] = "colours 色"
    bundle.save(tmp_path / "colours")
    library.add(tmp_path / "colours")  # the test's library, which the engine shares
    array = np.random.default_rng(1).integers(0, 255, (1, 50, 70, 3)).astype(np.uint8)
    volume = make_volume(array, np.diag([-1.0, -1.0, 1.0, 1.0]), class_name="vtkMRMLVectorVolumeNode")
    image = sitk.GetImageFromArray(array[0], isVector=True)
    expected = sitk.GetArrayFromImage(Segmenter(bundle, "cpu").segment(image))
    names = {label.name: label.value for label in bundle.labels}
    np.testing.assert_array_equal(label_map(logic.segment(volume, "colours 色"), volume, names)[0], expected)


def test_what_cannot_be_is_said_in_a_sentence(logic, make_volume):
    volume = make_volume(np.zeros((3, 20, 20), np.int16))
    with pytest.raises(UserError, match=r"no model 'liver-net'; there are: phantom-tiny"):
        logic.segment(volume, "liver-net")
    with pytest.raises(UserError, match="no option 'mirrors'"):
        logic.segment(volume, mirrors=True)
    with pytest.raises(UserError, match="2 channels, but the model phantom-tiny takes 1"):
        logic.segment([volume, make_volume(np.zeros((3, 20, 20), np.int16), name="MR")])
    with pytest.raises(UserError, match="no volume"):
        logic.segment(None)
    with pytest.raises(UserError, match="no device 'cuda:9'"):
        logic.segment(volume, device="cuda:9")
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_nothing_found_says_why(logic, make_volume, tmp_path):
    from DinoUNetSlicerLib import segmenting
    from DinoUNetSlicerLib.models import find_model
    from DinoUNetSlicerLib.wording import verdict

    bundle = make_bundle(labels={"tumour": 1})
    (bias,) = (name for name in bundle.tensors if name.endswith("seg_layers.2.bias"))
    bundle.tensors[bias] = bundle.tensors[bias] + torch.tensor([50.0, 0.0])  # the background wins everywhere
    bundle.config["name"] = "blind"
    bundle.save(tmp_path / "blind")
    library.add(tmp_path / "blind")
    volume = make_volume(np.random.default_rng(0).normal(size=(3, 40, 40)).astype(np.float32))
    result = segmenting.run(segmenting.make_order([volume], find_model("blind")))
    sentence = verdict(result)
    assert sentence.startswith("Nothing was found in the 40 x 40 x 3 voxels searched")
    assert "The highest probability seen was 0%, for tumour." in sentence
    assert not logic.segment(volume, "blind").GetSegmentation().GetNumberOfSegments()


def test_a_model_of_this_side_is_sent_to_an_engine_elsewhere(logic, make_volume, remote_command, tmp_path):
    from DinoUNetSlicerLib import segmenting
    from DinoUNetSlicerLib.engine_command import COMMAND_LINE, save_choice

    bundle = make_bundle(labels={"2": 2, "10": 700})
    bundle.config["name"] = "mine 私の"
    bundle.save(tmp_path / "bundle")
    library.add(tmp_path / "bundle")
    save_choice(COMMAND_LINE, remote_command)
    array = np.random.default_rng(2).normal(size=(4, 40, 50)).astype(np.float32)
    volume = make_volume(array, np.diag([-1.0, -1.0, 2.0, 1.0]))
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1, 1, 2))
    expected = sitk.GetArrayFromImage(Segmenter(bundle, "cpu", threads=1).segment(image))
    node = logic.segment(volume, "mine 私の", threads=1)
    np.testing.assert_array_equal(label_map(node, volume, {"2": 2, "10": 700}), expected)
    assert not list((tmp_path / "home elsewhere").rglob("*.safetensors"))  # nothing of it stays there
    first = segmenting.shared_engine()._process
    logic.segment(volume, "mine 私の", outputSegmentation=node)
    assert segmenting.shared_engine()._process is first  # the second time it is there


def test_an_engine_of_another_python_is_told_by_its_path(scene, make_volume):
    from DinoUNetSlicerLib.engine_command import OTHER_PYTHON, make_command

    assert make_command(OTHER_PYTHON, sys.executable).program
    with pytest.raises(UserError, match="no interpreter"):
        make_command(OTHER_PYTHON, "no-such-python")
