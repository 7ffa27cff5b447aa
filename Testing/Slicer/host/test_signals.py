"""Signals and slots follow PythonQt's rules, and mistakes are caught."""

import functools

import pytest
import qt
from Host.pythonqt.signals import UnknownSignalError


def test_a_slot_gets_as_many_arguments_as_it_has_parameters(scene):
    button, calls = qt.QPushButton(), []
    button.setCheckable(True)
    button.connect("toggled(bool)", lambda: calls.append("none"))
    button.connect("toggled(bool)", lambda on: calls.append(on))
    button.toggled.connect(functools.partial(calls.append))
    button.click()
    assert calls == ["none", True, True]


def test_clicked_hands_its_bool_to_a_parameter_with_a_default(scene):
    button, calls = qt.QPushButton(), []
    button.clicked.connect(lambda item="mine": calls.append(item))
    button.click()
    assert calls == [False]


def test_an_exception_in_a_slot_is_collected_and_the_next_slot_runs(host, scene):
    button, calls = qt.QPushButton(), []

    def fail():
        raise ValueError("planted")

    button.connect("clicked()", fail)
    button.connect("clicked()", lambda: calls.append("next"))
    button.click()
    assert calls == ["next"]
    (fault,) = host.faults.take_slots()
    assert "planted" in fault and "in fail" in fault


def test_a_slot_with_too_many_parameters_is_a_fault(host, scene):
    button = qt.QPushButton()
    button.connect("clicked()", lambda one, two: None)
    button.click()
    assert "TypeError" in host.faults.take_slots()[0]


@pytest.mark.parametrize("signature", ["clickd()", "clicked(int)", "clicked"])
def test_a_signal_that_does_not_exist_cannot_be_connected(scene, signature):
    with pytest.raises(UnknownSignalError, match="QPushButton"):
        qt.QPushButton().connect(signature, print)


def test_what_is_not_callable_cannot_be_connected(scene):
    with pytest.raises(TypeError, match="not callable"):
        qt.QPushButton().clicked.connect(None)


def test_a_slot_can_be_disconnected(scene):
    button, calls = qt.QPushButton(), []

    def slot():
        calls.append("called")

    button.connect("clicked()", slot)
    assert button.disconnect("clicked()", slot)
    assert not button.disconnect("clicked()", slot)
    button.click()
    assert calls == []


def test_a_slot_can_be_named_by_object_and_signature(scene):
    box, widget = qt.QCheckBox(), qt.QWidget()
    box.connect("toggled(bool)", widget, "setEnabled(bool)")
    box.checked = True
    box.checked = False
    assert not widget.enabled


def test_a_signal_cannot_be_overwritten(scene):
    with pytest.raises(AttributeError, match="can not be overwritten"):
        qt.QPushButton().clicked = print


def test_a_timers_slot_is_guarded_too(host, scene):
    calls = []
    qt.QTimer.singleShot(0, lambda: calls.append("shot"))
    qt.QTimer.singleShot(0, lambda: 1 / 0)
    timer = qt.QTimer()
    timer.singleShot = True
    timer.timeout.connect(lambda: calls.append("timeout"))
    timer.start(1)
    host.wait_until(lambda: calls == ["shot", "timeout"] and host.faults.slots)
    assert "ZeroDivisionError" in host.faults.take_slots()[0]


def test_a_signals_exception_in_an_observer_of_vtk_is_collected(host, scene):
    node = scene.AddNewNodeByClass("vtkMRMLTextNode")
    node.AddObserver("ModifiedEvent", lambda caller, event: 1 / 0)
    node.SetText("changed")
    assert any("ZeroDivisionError" in fault for fault in host.faults.observers)
    host.faults.observers.clear()
