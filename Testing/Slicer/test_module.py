"""The module as a user meets it: opened, clicked, cancelled, saved and reloaded, in both layouts."""

import random
import subprocess
import sys

import numpy as np
import pytest
import qt
import SimpleITK as sitk
import slicer
from Host import processes
from Host.scripted.layouts import ROOT
from random_bundle import make_bundle

from DinoUNetCore.dataset.phantom import PHANTOM_LABELS
from DinoUNetCore.inference.segmenter import Segmenter
from DinoUNetCore.weights import library
from DinoUNetSlicerLib.parameters import EXTRA_CHANNEL_ROLE

pytestmark = pytest.mark.usefixtures("choices")


def test_a_click_segments_the_phantom(host, opened, volume, phantom, wait_for_the_end):
    ui = opened.ui
    ui.inputVolumeSelector.setCurrentNode(volume)
    assert ui.segmentButton.enabled
    assert ui.modelSelector.currentText == "phantom-tiny"
    seen = []
    ui.progressBar.connect("valueChanged(int)", seen.append)
    ui.segmentButton.click()
    assert ui.segmentButton.text == "Cancel"
    wait_for_the_end(opened)
    assert ui.segmentButton.text == "Segment"
    assert len([value for value in seen if 0 < value <= 1000]) >= 2  # the bar moved
    node = ui.outputSelector.currentNode()
    assert "Found" in ui.statusLabel.text
    segmentation = node.GetSegmentation()
    drawn = sitk.GetArrayFromImage(phantom[1])
    for organ in ("liver", "lung_right"):
        identity = segmentation.GetSegmentIdBySegmentName(organ)
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, identity, volume) != 0
        truth = drawn == PHANTOM_LABELS[organ]
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8, organ
    assert ui.show3DButton.enabled

    ui.segmentButton.click()  # again into the same node: no second set of segments
    count = segmentation.GetNumberOfSegments()
    wait_for_the_end(opened)
    assert segmentation.GetNumberOfSegments() == count
    assert ui.outputSelector.currentNode() is node


def test_cancelling_anywhere_changes_nothing_and_leaves_the_module_usable(
    host, opened, long_volume, scene, wait_for_the_end
):
    opened.ui.inputVolumeSelector.setCurrentNode(long_volume)
    moments = random.Random(5)
    nodes = scene.GetNumberOfNodes()
    for _ in range(6):
        opened.ui.segmentButton.click()
        host.process_events(moments.uniform(0, 3))
        assert opened.panel.run.running, "it was over before it could be cancelled; use a larger volume"
        opened.ui.segmentButton.click()
        wait_for_the_end(opened, 5)
        assert "ancelled" in opened.ui.statusLabel.text
        assert scene.GetNumberOfNodes() == nodes
    opened.ui.segmentButton.click()
    wait_for_the_end(opened)
    assert "Found" in opened.ui.statusLabel.text


def test_an_engine_that_is_killed_is_reported_in_a_sentence(host, opened, volume, scene, wait_for_the_end):
    from DinoUNetSlicerLib import segmenting

    opened.ui.inputVolumeSelector.setCurrentNode(volume)
    moments = random.Random(7)
    nodes = scene.GetNumberOfNodes()
    for _ in range(4):
        opened.ui.segmentButton.click()
        host.process_events(moments.uniform(0, 2))
        segmenting.shared_engine()._process.kill()
        wait_for_the_end(opened, 5)
        assert "engine has ended unexpectedly" in opened.ui.statusLabel.text
        assert scene.GetNumberOfNodes() == nodes
    opened.ui.segmentButton.click()
    wait_for_the_end(opened)
    assert "Found" in opened.ui.statusLabel.text


def test_closing_the_scene_meanwhile_is_safe(host, opened, volume, scene, wait_for_the_end):
    opened.ui.inputVolumeSelector.setCurrentNode(volume)
    opened.ui.segmentButton.click()
    host.process_events(1.0)
    scene.Clear(False)
    wait_for_the_end(opened, 10)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert not opened.ui.segmentButton.enabled  # there is no volume now


def test_removing_the_volume_meanwhile_drops_the_result(host, opened, volume, scene, wait_for_the_end):
    opened.ui.inputVolumeSelector.setCurrentNode(volume)
    opened.ui.segmentButton.click()
    host.process_events(0.5)
    scene.RemoveNode(volume)
    wait_for_the_end(opened)
    assert "no longer in the scene" in opened.ui.statusLabel.text
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_choices_are_saved_and_loaded_with_the_scene(host, opened, volume, scene, tmp_path):
    ui = opened.ui
    ui.inputVolumeSelector.setCurrentNode(volume)
    ui.mirrorCheckBox.checked = True
    ui.fastCheckBox.checked = True
    ui.threadsSpinBox.value = 3
    ui.deviceSelector.setCurrentText("cpu")
    ui.precisionSelector.setCurrentIndex(1)
    path = tmp_path / "Szene ä.mrb"
    assert slicer.util.saveScene(str(path))
    scene.Clear(False)
    host.process_events()
    assert not ui.mirrorCheckBox.checked
    assert ui.deviceSelector.currentText == "auto"
    slicer.util.loadScene(str(path))
    host.process_events()
    assert ui.mirrorCheckBox.checked and ui.fastCheckBox.checked
    assert (ui.threadsSpinBox.value, ui.deviceSelector.currentText, ui.precisionSelector.currentText) == (
        3, "cpu", "float32",
    )  # fmt: skip
    assert ui.inputVolumeSelector.currentNode().GetName() == "phantom"


def test_planes_are_fused_unless_the_user_does_not_want_it(opened, scene, tmp_path, wait_for_the_end):
    ui = opened.ui
    assert ui.fusePlanesCheckBox.isHidden() and ui.fusePlanesLabel.isHidden()  # the embedded model has one plane
    bundle = make_bundle(planes=["axial", "coronal"])
    bundle.config["name"] = "two planes"
    bundle.save(tmp_path / "bundle")
    library.add(tmp_path / "bundle")
    opened.panel.models.refresh()
    ui.modelSelector.setCurrentIndex(1)
    assert not ui.fusePlanesCheckBox.isHidden() and ui.fusePlanesCheckBox.checked
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "noise")
    slicer.util.updateVolumeFromArray(node, np.random.default_rng(0).normal(size=(12, 40, 40)).astype(np.float32))
    ui.inputVolumeSelector.setCurrentNode(node)
    found = []
    for fuse in (True, False):
        ui.fusePlanesCheckBox.checked = fuse
        ui.segmentButton.click()
        wait_for_the_end(opened)
        segmentation = ui.outputSelector.currentNode()
        identity = segmentation.GetSegmentation().GetSegmentIdBySegmentName("two")
        found.append(slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, identity, node) != 0)
    image = sitk.GetImageFromArray(slicer.util.arrayFromVolume(node))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # a new node's axes run to R, A, S
    for there, planes in zip(found, (None, ["axial"]), strict=True):
        expected = sitk.GetArrayFromImage(Segmenter(bundle, "cpu", planes=planes).segment(image)) == 2
        assert (there == expected).mean() > 0.999
    assert (found[0] != found[1]).mean() > 0.01


def test_a_wrong_device_is_said_below_the_button(host, opened, volume, wait_for_the_end):
    opened.ui.inputVolumeSelector.setCurrentNode(volume)
    opened.ui.deviceSelector.setCurrentText("cuda:9")
    opened.ui.segmentButton.click()
    wait_for_the_end(opened)
    assert "no device" in opened.ui.statusLabel.text
    assert "cuda:9" in opened.ui.logText.plainText


def choose_two_channels(opened, folder):
    """Add a model that takes two channels, and choose it."""
    bundle = make_bundle(channels=("T1", "T2"))
    bundle.config["name"] = "two channels"
    bundle.save(folder / "bundle")
    library.add(folder / "bundle")
    opened.panel.models.refresh()
    opened.ui.modelSelector.setCurrentIndex(1)


def test_a_model_with_two_channels_gets_two_selectors_that_the_scene_keeps(
    host, opened, scene, tmp_path, wait_for_the_end
):
    choose_two_channels(opened, tmp_path)
    assert (opened.ui.modelSelector.currentText, opened.ui.inputVolumeLabel.text) == ("two channels", "T1:")
    (selector,) = opened.panel.channels.selectors
    assert not opened.ui.segmentButton.enabled

    random = np.random.default_rng(0)
    nodes = []
    for name in ("first", "second"):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        slicer.util.updateVolumeFromArray(node, random.normal(size=(3, 40, 40)).astype(np.float32))
        nodes.append(node)
    opened.ui.inputVolumeSelector.setCurrentNode(nodes[0])
    selector.setCurrentNode(nodes[1])
    assert opened.ui.segmentButton.enabled
    opened.ui.segmentButton.click()
    wait_for_the_end(opened)
    assert "Found" in opened.ui.statusLabel.text

    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    host.process_events()
    assert [node.GetName() for node in opened.panel.channels.nodes] == ["second"]
    opened.ui.modelSelector.setCurrentIndex(0)
    assert opened.panel.channels.selectors == []


def test_selectors_of_channels_go_with_the_parameter_node(host, opened, scene, tmp_path):
    choose_two_channels(opened, tmp_path)
    nodes = [scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name) for name in ("first", "second")]
    (selector,) = opened.panel.channels.selectors
    selector.setCurrentNode(nodes[1])
    parameter_node = opened.logic.rawParameterNode()
    role = EXTRA_CHANNEL_ROLE.format(1)
    assert parameter_node.GetNodeReference(role) is nodes[1]

    chosen = opened.panel.channels._chosen
    opened.panel.use(None, None)  # as when the scene closes, or the module is reloaded
    assert opened.panel.channels.selectors == []
    chosen(1, None)  # what a selector says at the very end
    assert parameter_node.GetNodeReference(role) is nodes[1]
    opened.panel.use(opened.logic.getParameterNode(), parameter_node)
    assert opened.panel.channels.nodes == [nodes[1]]


def test_a_device_can_be_typed(host, opened, volume):
    for text in ("c", "cu", "cuda", "cuda:", "cuda:1", "cuda:", "cuda", "", "c", "cpu"):
        opened.ui.deviceSelector.setEditText(text)
        assert opened.ui.deviceSelector.currentText == text
    assert opened.logic.getParameterNode().device == "cpu"


def test_the_spin_boxes_say_what_none_means(opened):
    assert (opened.ui.threadsSpinBox.text, opened.ui.batchSizeSpinBox.text) == ("all but one", "auto")
    opened.ui.threadsSpinBox.value = -1
    assert opened.ui.threadsSpinBox.value == 0


def test_models_can_be_added_and_removed(host, opened, tmp_path):
    import shutil

    bundle = tmp_path / "Mein Modell 肝"
    shutil.copytree(ROOT / "Resources" / "Models" / "phantom-tiny", bundle)
    config = (bundle / "config.json").read_text(encoding="utf-8")
    (bundle / "config.json").write_text(config.replace('"phantom-tiny"', '"Mein Modell 肝"'), encoding="utf-8")
    actions = {action.text: action for action in opened.ui.modelMenuButton.menu().actions()}
    host.dialogs.answer("getExistingDirectory", str(bundle))
    actions["Add a folder..."].trigger()
    assert opened.ui.modelSelector.currentText == "Mein Modell 肝"
    host.dialogs.answer("question", qt.QMessageBox.Yes)
    actions["Remove this model..."].trigger()
    names = [opened.ui.modelSelector.itemText(index) for index in range(opened.ui.modelSelector.count)]
    assert names == ["phantom-tiny"]
    opened.ui.modelSelector.setCurrentIndex(0)
    actions["Remove this model..."].trigger()
    assert "comes with the module" in opened.ui.statusLabel.text


def test_the_sample_is_drawn_by_the_engine(host, opened):
    opened.ui.sampleDataButton.click()
    host.wait_until(lambda: opened.ui.inputVolumeSelector.currentNode() is not None, 60, "the phantom")
    assert slicer.util.arrayFromVolume(opened.ui.inputVolumeSelector.currentNode()).min() < -900


def test_unloading_ends_the_process(host, opened):
    from DinoUNetSlicerLib import segmenting

    opened.ui.checkEngineButton.click()
    host.wait_until(lambda: "works" in opened.ui.statusLabel.text, 60, "the engine's answer")
    assert "torch" in opened.ui.logText.plainText
    opened.ui.unloadButton.click()
    assert not segmenting.shared_engine().running


def test_an_engine_that_fails_at_once_is_not_said_to_be_starting(host, opened):
    opened.ui.engineSelector.setCurrentIndex(2)
    opened.ui.engineCommandEdit.setText('""')  # no program: Qt says so before anything is started
    opened.ui.engineCommandEdit.editingFinished.emit()
    opened.ui.checkEngineButton.click()
    assert "cannot be started" in opened.ui.statusLabel.text


def test_the_3d_button_is_its_own_master(opened, scene):
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    opened.ui.outputSelector.setCurrentNode(segmentation)
    assert not opened.ui.show3DButton.enabled
    opened.ui.outputSelector.setCurrentNode(None)
    assert not opened.ui.show3DButton.enabled


def test_closing_slicer_leaves_no_process(host, volume):
    loaded = host.load_source("DinoUNetSlicer")
    widget = loaded.open()
    widget.ui.inputVolumeSelector.setCurrentNode(volume)
    widget.ui.segmentButton.click()
    host.process_events(0.5)
    assert processes.running()
    loaded.unload()
    assert not processes.running()


def test_packages_are_shown_and_installed_by_slicers_tools(host, opened, plant_package):
    assert "torch" in opened.ui.packagesLabel.text
    assert not opened.ui.installButton.enabled
    plant_package("timm", "0.9.2")
    opened.panel.packages.refresh()
    cursors = []
    host.packaging.on_ensure = lambda request: cursors.append(slicer.app.overrideCursor())
    opened.ui.installButton.click()
    assert cursors == [None]  # a wait cursor would lie over Slicer's questions
    assert "still missing: timm" in opened.ui.statusLabel.text
    requests = {request.function: request for request in host.packaging.requests}
    options = requests["pip_ensure"].options
    assert {"SimpleITK", "numpy", "vtk", "torch", "torchvision"} <= set(options["skip_packages"])
    assert any("timm" in requirement for requirement in requests["pip_ensure"].requirements)


def test_the_installed_layout_works_as_well(host, volume, tmp_path, wait_for_the_end):
    widget = host.load_installed("DinoUNetSlicer", tmp_path / "Slicer ä").open()
    widget.ui.inputVolumeSelector.setCurrentNode(volume)
    widget.ui.segmentButton.click()
    wait_for_the_end(widget)
    assert "Found" in widget.ui.statusLabel.text


def test_the_module_can_be_reloaded(host, volume):
    loaded = host.load_source("DinoUNetSlicer")
    loaded.open()
    widget = loaded.reload()
    widget.ui.inputVolumeSelector.setCurrentNode(volume)
    assert widget.ui.segmentButton.enabled


def test_importing_the_module_loads_nothing_but_slicers_own_packages(host):
    program = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from Host import boot; boot.boot()\n"
        "before = set(sys.modules)\n"
        "import DinoUNetSlicer, DinoUNetSlicerLib.panel, DinoUNetSlicerLib.batch\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "allowed = {'DinoUNetSlicer', 'DinoUNetSlicerLib', 'DinoUNetCore', 'SimpleITK', 'numpy', 'vtk', 'vtkmodules',\n"
        "           'swig_runtime_data5'}  # SimpleITK's\n"
        "print(sorted(new - allowed - set(sys.stdlib_module_names)))\n"
    )
    paths = [str(ROOT / "Testing"), str(ROOT / "DinoUNetSlicer")]
    result = subprocess.run(
        [sys.executable, "-c", program, *paths], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert result.stdout.strip().splitlines()[-1:] == ["[]"], result.stdout + result.stderr
