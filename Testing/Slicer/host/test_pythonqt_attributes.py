"""Attributes of Qt's objects follow PythonQt's rules, and mistakes are caught."""

import pytest
import qt


def test_a_property_is_an_attribute_that_shadows_its_getter(scene):
    button = qt.QPushButton("Apply")
    button.text = "Cancel"
    button.enabled = False
    assert (button.text, button.enabled, button.isEnabled()) == ("Cancel", False, False)
    with pytest.raises(TypeError):
        button.text()


def test_a_property_shadows_the_getter_that_a_subclass_overrides(scene):
    assert isinstance(qt.QTextBrowser().sizeHint, qt.QSize)


@pytest.mark.parametrize("value", [7, 7.9])
def test_numbers_are_converted_to_the_propertys_type(scene, value):
    bar = qt.QProgressBar()
    bar.value = value
    assert bar.value == 7


def test_a_text_property_takes_anything_as_text(scene):
    label = qt.QLabel()
    label.text = 5
    assert label.text == "5"


def test_a_value_of_the_wrong_type_is_refused(scene):
    with pytest.raises(AttributeError, match="does not accept"):
        qt.QPushButton().enabled = "yes"
    with pytest.raises(AttributeError, match="does not accept"):
        qt.QProgressBar().value = None


def test_a_read_only_property_cannot_be_written(scene):
    with pytest.raises(AttributeError, match="not writable"):
        qt.QWidget().width = 5


def test_an_unknown_attribute_cannot_be_read(scene):
    with pytest.raises(AttributeError, match="has no attribute named 'txet'"):
        qt.QPushButton().txet  # noqa: B018


def test_nothing_can_be_added_to_a_cpp_object(scene):
    with pytest.raises(AttributeError, match="not allowed"):
        qt.QPushButton().txet = "Apply"


def test_a_method_cannot_be_overwritten(scene):
    with pytest.raises(AttributeError, match="can not be overwritten"):
        qt.QPushButton().click = print


def test_a_python_subclass_may_have_attributes_of_its_own(scene):
    class Watcher(qt.QObject):
        pass

    watcher = Watcher()
    watcher.seen = 3
    assert watcher.seen == 3


def test_constructors_take_no_keywords(scene):
    with pytest.raises(TypeError, match="keyword"):
        qt.QPushButton(text="Apply")


def test_dynamic_properties_and_children_are_attributes(scene):
    widget = qt.QWidget()
    child = qt.QLabel("here", widget)
    child.objectName = "status"
    widget.setProperty("purpose", "test")
    assert widget.purpose == "test"
    assert widget.status is child
    assert child.name == "status"


def test_descendants_are_found_by_class_name_or_class(scene):
    widget = qt.QWidget()
    label = qt.QLabel(widget)
    label.objectName = "status"
    qt.QPushButton(widget)
    assert widget.findChildren("QLabel") == [label]
    assert widget.findChild(qt.QLabel, "status") is label
    assert widget.findChild("QLabel", "other") is None


def test_enumerations_are_whole_numbers(scene):
    assert qt.QProcess.NotRunning == 0
    assert int(qt.QProcess.FailedToStart) == 0
    assert qt.QMessageBox.Yes | qt.QMessageBox.No == 0x14000


def test_what_only_pyside_has_is_not_there(scene):
    assert not [name for name in ("Signal", "Slot", "Property", "QtCore") if hasattr(qt, name)]
