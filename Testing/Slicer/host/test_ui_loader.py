"""Loading .ui files: doubles, connections of scenes, and mistakes that Slicer would hide."""

import pytest
import slicer
from Host.ui_loader import UiFileError

PANEL = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0">
 <class>Panel</class>
 <widget class="qMRMLWidget" name="Panel">
  <layout class="QVBoxLayout" name="rows">
   <item><widget class="ctkCollapsibleButton" name="inputs">
    <property name="text"><string>Inputs</string></property>
    <layout class="QFormLayout" name="form">
     <item row="0" column="0"><widget class="QLabel" name="label"><property name="text"><string>Volume:</string>
      </property></widget></item>
     <item row="0" column="1"><widget class="qMRMLNodeComboBox" name="volume">
      <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
      <property name="noneEnabled"><bool>true</bool></property>
      <property name="SlicerParameterName" stdset="0"><string>volume</string></property>
     </widget></item>
     <item row="1" column="1"><widget class="ctkSliderWidget" name="threshold">
      <property name="maximum"><double>1.000000000000000</double></property>
      <property name="value"><double>0.250000000000000</double></property>
     </widget></item>
     <item row="2" column="1"><widget class="ctkPathLineEdit" name="folder"/></item>
     <item row="3" column="1"><widget class="QCheckBox" name="all"/></item>
    </layout>
   </widget></item>
  </layout>
 </widget>
 <customwidgets>
  <customwidget><class>qMRMLWidget</class><extends>QWidget</extends><container>1</container></customwidget>
  <customwidget><class>ctkCollapsibleButton</class><extends>QWidget</extends><container>1</container></customwidget>
  <customwidget><class>qMRMLNodeComboBox</class><extends>QWidget</extends></customwidget>
  <customwidget><class>ctkSliderWidget</class><extends>QWidget</extends></customwidget>
  <customwidget><class>ctkPathLineEdit</class><extends>QWidget</extends></customwidget>
 </customwidgets>
 <connections>
  <connection><sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
   <receiver>volume</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection>
  <connection><sender>all</sender><signal>toggled(bool)</signal>
   <receiver>folder</receiver><slot>setVisible(bool)</slot></connection>
 </connections>
</ui>
"""


@pytest.fixture
def load(tmp_path):
    def load(text: str = PANEL):
        path = tmp_path / "Panel.ui"
        path.write_text(text, encoding="utf-8")
        return slicer.util.loadUI(str(path))

    return load


def test_widgets_have_their_classes_names_and_properties(scene, load):
    panel = load()
    ui = slicer.util.childWidgetVariables(panel)
    assert isinstance(ui.volume, slicer.qMRMLNodeComboBox)
    assert (list(ui.volume.nodeTypes), ui.volume.noneEnabled) == (["vtkMRMLScalarVolumeNode"], True)
    assert (ui.threshold.maximum, ui.threshold.value) == (1.0, 0.25)
    assert ui.inputs.text == "Inputs"
    assert ui.volume.property("SlicerParameterName") == "volume"
    assert ui.volume.parent() is ui.inputs


def test_the_scene_reaches_the_widgets_that_are_connected(scene, load):
    panel = load()
    panel.setMRMLScene(scene)
    ui = slicer.util.childWidgetVariables(panel)
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    ui.volume.setCurrentNode(volume)
    assert ui.volume.currentNode() is volume


def test_connections_between_qt_widgets_work(scene, load):
    panel = load()
    ui = slicer.util.childWidgetVariables(panel)
    ui.all.checked = True
    ui.all.checked = False
    assert ui.folder.isHidden()


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ('name="noneEnabled"', 'name="noneEnabeld"', "has no property noneEnabeld"),
        ("ctkPathLineEdit", "ctkPathLineEditor", "no double for ctkPathLineEditor"),
        ("mrmlSceneChanged(vtkMRMLScene*)", "mrmlSceneChange(vtkMRMLScene*)", "does not exist"),
        ("setMRMLScene(vtkMRMLScene*)", "setScene(vtkMRMLScene*)", "no such slot"),
        ("<receiver>volume</receiver>", "<receiver>volumes</receiver>", "there is no volumes"),
    ],
)
def test_a_mistake_in_the_file_is_caught(scene, load, right, wrong, message):
    with pytest.raises(UiFileError, match=message):
        load(PANEL.replace(right, wrong))


def test_a_missing_file_is_an_error(scene):
    with pytest.raises(RuntimeError, match="file not found"):
        slicer.util.loadUI("nowhere/Panel.ui")
