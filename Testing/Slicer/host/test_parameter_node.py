"""The double of parameterNodeWrapper."""

import enum
import pathlib
from types import SimpleNamespace
from typing import Annotated, Optional, Union

import ctk
import pytest
import qt
import slicer
from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import Choice, Default, Minimum, WithinRange, parameterNodeWrapper


class Device(enum.Enum):
    CPU = "cpu"
    GPU = "cuda"


@parameterNodeWrapper
class Parameters:
    volume: vtkMRMLScalarVolumeNode
    region: Optional[vtkMRMLMarkupsROINode]  # noqa: UP045  # modules write it so
    volumes: list[vtkMRMLScalarVolumeNode]
    names: list[str]
    title: str = "none"
    mirror: bool
    threads: Annotated[int, Minimum(1), Default(4)]
    threshold: Annotated[float, WithinRange(0, 1)] = 0.5
    mode: Annotated[str, Choice(["fast", "exact"])] = "fast"
    device: Device
    folder: pathlib.Path


@pytest.fixture
def parameters(scene):
    return Parameters(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Parameters"))


def gui(**widgets) -> SimpleNamespace:
    """An object like slicer.util.childWidgetVariables gives it, each widget bound to the parameter of its name."""
    for name, widget in widgets.items():
        widget.setProperty("SlicerParameterName", name)
    return SimpleNamespace(**widgets)


def test_defaults_are_those_that_were_given_or_those_of_the_type(parameters):
    assert (parameters.title, parameters.threads, parameters.threshold) == ("none", 4, 0.5)
    assert (parameters.mirror, parameters.names, parameters.device) == (False, [], Device.CPU)
    assert (parameters.volume, parameters.region, parameters.folder) == (None, None, pathlib.Path())


def test_values_are_kept_in_the_node(parameters):
    parameters.title, parameters.mirror, parameters.device = "größer", True, Device.GPU
    parameters.names.append("liver")
    again = Parameters(parameters.parameterNode)
    assert (again.title, again.mirror, again.device, again.names) == ("größer", True, Device.GPU, ["liver"])


def test_nodes_are_kept_as_references(scene, parameters):
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    parameters.volume = volume
    parameters.volumes = [volume]
    again = Parameters(parameters.parameterNode)
    assert (again.volume, again.volumes) == (volume, [volume])
    scene.RemoveNode(volume)
    assert parameters.volume is None


def test_values_survive_saving_and_loading_the_scene(scene, parameters, tmp_path):
    parameters.volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    parameters.threshold = 0.25
    assert slicer.util.saveScene(str(tmp_path / "scene.mrml"))
    scene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrml"), {"clear": True})
    loaded = Parameters(slicer.util.getNode("Parameters"))
    assert (loaded.threshold, loaded.volume.GetName()) == (0.25, "CT")


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("threads", 0, ValueError),
        ("threads", 1.5, TypeError),
        ("threshold", 1.01, ValueError),
        ("mode", "slow", ValueError),
        ("title", None, ValueError),
        ("title", 5, TypeError),
        ("names", [1], TypeError),
        ("treshold", 0.1, AttributeError),
    ],
)
def test_a_value_that_is_not_allowed_is_refused(parameters, name, value, error):
    with pytest.raises(error):
        setattr(parameters, name, value)


def test_a_node_of_another_class_is_refused(scene, parameters):
    with pytest.raises(TypeError):
        parameters.volume = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")


def test_changes_of_the_node_are_told(parameters):
    told = []
    tag = parameters.AddObserver("ModifiedEvent", lambda caller, event: told.append(event))
    parameters.threshold = 0.75
    parameters.RemoveObserver(tag)
    parameters.threshold = 0.25
    assert told == ["ModifiedEvent"]


def test_what_is_written_behind_its_back_is_not_seen(parameters):
    assert parameters.title == "none"
    parameters.parameterNode.SetParameter("title", "other")
    assert parameters.title == "none"


def test_widgets_show_the_values_and_change_them(scene, parameters):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes, selector.noneEnabled = ["vtkMRMLScalarVolumeNode"], True
    selector.setMRMLScene(scene)
    ui = gui(
        volume=selector,
        title=qt.QLineEdit(),
        mirror=qt.QCheckBox(),
        threads=qt.QSpinBox(),
        threshold=ctk.ctkSliderWidget(),
        mode=qt.QComboBox(),
        device=ctk.ctkComboBox(),
        folder=ctk.ctkPathLineEdit(),
    )
    parameters.title = "first"
    parameters.connectGui(ui)
    assert (ui.title.text, ui.threads.value, ui.threshold.value, ui.mode.currentText) == ("first", 4, 0.5, "fast")
    assert (ui.threads.minimum, ui.threshold.maximum, ui.mode.count) == (1, 1.0, 2)

    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    ui.volume.setCurrentNode(volume)
    ui.title.text, ui.mirror.checked, ui.threads.value = "second", True, 2
    ui.threshold.value, ui.mode.currentIndex, ui.folder.currentPath = 0.25, 1, "/data"
    ui.device.currentIndex = 1
    assert (parameters.volume, parameters.title, parameters.mirror, parameters.threads) == (volume, "second", True, 2)
    assert (parameters.threshold, parameters.mode, parameters.device) == (0.25, "exact", Device.GPU)
    assert parameters.folder == pathlib.Path("/data")

    parameters.volume, parameters.mirror, parameters.mode = None, False, "fast"
    assert (ui.volume.currentNode(), ui.mirror.checked, ui.mode.currentIndex) == (None, False, 0)


def test_a_disconnected_gui_is_left_alone(parameters):
    ui = gui(title=qt.QLineEdit())
    parameters.disconnectGui(parameters.connectParametersToGui({"title": ui.title}))
    parameters.title = "new"
    assert ui.title.text == "none"
    ui.title.text = "other"
    assert parameters.title == "new"


def test_what_connect_gui_has_bound_stays_bound(parameters):
    """Slicer's connectGui returns no tag, so disconnecting what it returns does nothing."""
    ui = gui(title=qt.QLineEdit())
    parameters.disconnectGui(parameters.connectGui(ui))
    ui.title.text = "other"
    assert parameters.title == "other"


def test_a_selector_lists_the_declared_classes_and_cannot_be_bound_to_an_abstract_one(scene):
    @parameterNodeWrapper
    class Declared:
        volume: Union[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLVectorVolumeNode, None]  # noqa: UP007
        anything: slicer.vtkMRMLVolumeNode

    declared = Declared(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    selector = slicer.qMRMLNodeComboBox()
    declared.connectParametersToGui({"volume": selector})
    assert list(selector.nodeTypes) == ["vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode"]
    with pytest.raises(TypeError):
        declared.connectParametersToGui({"anything": selector})


def test_a_binding_to_a_parameter_that_does_not_exist_is_caught(parameters):
    with pytest.raises(RuntimeError, match="no parameter named tilte"):
        parameters.connectGui(gui(tilte=qt.QLineEdit()))


@pytest.mark.parametrize(
    ("name", "widget"),
    [
        ("title", lambda: qt.QComboBox()),  # without a Choice
        ("title", lambda: ctk.ctkPathLineEdit()),
        ("mirror", lambda: ctk.ctkCollapsibleButton()),
        ("threads", lambda: qt.QLineEdit()),
        ("threads", lambda: qt.QSlider()),  # without an upper end
    ],
)
def test_a_widget_that_slicer_cannot_bind_is_caught(parameters, name, widget):
    with pytest.raises(RuntimeError):
        parameters.connectGui(gui(**{name: widget()}))


def test_a_type_that_is_not_supported_is_caught(scene):
    with pytest.raises(TypeError, match="does not support"):

        @parameterNodeWrapper
        class Unsupported:
            value: complex


def test_a_union_of_node_types_takes_both(scene):
    @parameterNodeWrapper
    class Either:
        node: vtkMRMLScalarVolumeNode | vtkMRMLSegmentationNode | None

    either = Either(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    for kind in ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode"):
        either.node = scene.AddNewNodeByClass(kind)
    with pytest.raises(TypeError):
        either.node = scene.AddNewNodeByClass("vtkMRMLTextNode")
