"""The doubles of CTK's and Slicer's widgets."""

import ctk
import numpy as np
import pytest
import qt
import slicer


def test_a_collapsible_button_hides_its_contents(scene):
    button = ctk.ctkCollapsibleButton("Advanced")
    label = qt.QLabel("inside")
    qt.QVBoxLayout(button).addWidget(label)
    button.show()
    collapsed = []
    button.connect("contentsCollapsed(bool)", lambda state: collapsed.append(state))
    button.collapsed = True
    assert (label.isVisible(), button.checked, collapsed) == (False, False, [True])
    button.collapsed = False
    assert label.isVisible()
    assert button.text == "Advanced"


def test_what_is_hidden_inside_a_collapsible_button_stays_hidden(scene):
    button = ctk.ctkCollapsibleButton()
    label = qt.QLabel(button)
    label.hide()
    button.show()
    button.collapsed = True
    button.collapsed = False
    assert label.isHidden()


def test_a_slider_keeps_its_value_in_range_and_rounds_it(scene):
    slider, values = ctk.ctkSliderWidget(), []
    slider.minimum, slider.maximum, slider.decimals = -1.0, 1.0, 1
    slider.connect("valueChanged(double)", lambda value: values.append(value))
    slider.value = 0.26
    slider.setValue(7)
    assert (values, slider.value) == ([0.3, 1.0], 1.0)


def test_a_slider_has_no_methods_that_slicer_cannot_call(scene):
    with pytest.raises(AttributeError):
        ctk.ctkSliderWidget().setRange(0, 1)


def test_a_path_line_edit_tells_of_changes_and_keeps_a_history(scene):
    edit, paths = ctk.ctkPathLineEdit(), []
    edit.settingKey = "Folders"
    edit.connect("currentPathChanged(QString)", lambda path: paths.append(path))
    edit.currentPath = "/one"
    edit.addCurrentPathToHistory()
    edit.currentPath = "/two"
    edit.addCurrentPathToHistory()
    assert paths == ["/one", "/two"]
    assert list(slicer.app.settings().value("ctkPathLineEdit/Folders")) == ["/two", "/one"]


def test_a_path_line_edit_browses_for_what_its_filters_say(host, scene):
    edit = ctk.ctkPathLineEdit()
    host.dialogs.answer("getOpenFileName", "/file")
    edit.browse()
    edit.filters = ctk.ctkPathLineEdit.Dirs
    host.dialogs.answer("getExistingDirectory", "/folder")
    edit.browse()
    assert [dialog.kind for dialog in host.dialogs.shown] == ["getOpenFileName", "getExistingDirectory"]
    assert edit.currentPath == "/folder"
    edit.browse()  # declined
    assert edit.currentPath == "/folder"


def test_a_combo_box_chooses_by_user_data(scene):
    box = ctk.ctkComboBox()
    box.addItem("Liver", "liver-id")
    box.addItem("Spleen", "spleen-id")
    box.setCurrentUserDataAsString("spleen-id")
    assert (box.currentText, box.currentUserDataAsString) == ("Spleen", "spleen-id")


def test_a_fitted_text_browser_grows_with_its_text(scene):
    browser = ctk.ctkFittedTextBrowser()
    before = browser.heightForWidth(200)
    browser.setPlainText("word " * 200)
    assert browser.heightForWidth(200) > 3 * before


def test_unknown_attributes_of_doubles_are_caught(scene):
    with pytest.raises(AttributeError):
        ctk.ctkCollapsibleButton().colapsed = True
    with pytest.raises(AttributeError):
        slicer.qMRMLWidget().scene  # noqa: B018


def test_the_3d_button_makes_and_removes_the_surface(scene):
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    button = slicer.qMRMLSegmentationShow3DButton()
    button.setSegmentationNode(segmentation)
    assert not button.enabled
    volume = slicer.util.addVolumeFromArray(np.zeros((9, 9, 9), np.int16))
    segment = segmentation.GetSegmentation().AddEmptySegment("cube")
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[2:7, 2:7, 2:7] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(labels, segmentation, segment, volume)
    assert button.enabled
    button.click()
    assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    button.click()
    assert not segmentation.GetSegmentation().ContainsRepresentation("Closed surface")


def test_constructors_of_doubles_take_no_keywords(scene):
    with pytest.raises(TypeError, match="keyword"):
        ctk.ctkSliderWidget(parent=None)


def test_the_3d_button_takes_no_scene(scene):
    with pytest.raises(AttributeError):
        slicer.qMRMLSegmentationShow3DButton().setMRMLScene(scene)
