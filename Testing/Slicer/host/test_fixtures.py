"""The fixture `scene` fails tests that went wrong silently."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLANTED = """
import sys

import pytest
import qt
import slicer
import vtk


def test_slot(scene):
    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()


def test_observer(scene):
    node = scene.AddNewNodeByClass("vtkMRMLTextNode")
    node.AddObserver("ModifiedEvent", lambda caller, event: 1 / 0)
    node.SetText("x")


def test_vtk(scene):
    vtk.vtkXMLImageDataReader().Update()


def test_answer(host, scene):
    host.dialogs.answer("question", qt.QMessageBox.Yes)


def test_cursor(scene):
    slicer.app.setOverrideCursor(qt.Qt.WaitCursor)


def test_process(scene):
    process = qt.QProcess(slicer.app)
    process.start(sys.executable, ["-c", "input()"])
    assert process.waitForStarted()


def test_clean(scene):
    assert slicer.util.getNodesByClass("vtkMRMLTextNode") == []
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """What pytest says about tests with planted faults, run in a process of its own."""
    folder = tmp_path_factory.mktemp("planted")
    shutil.copy(Path(__file__).parents[1] / "conftest.py", folder)
    (folder / "test_planted.py").write_text(PLANTED, encoding="utf-8")
    testing = Path(__file__).parents[2]
    command = [sys.executable, "-m", "pytest", "-rA", "-o", f"pythonpath={testing}", "-p", "no:cacheprovider", "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False).stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("slot", "a slot failed: "),
        ("observer", "an observer failed: "),
        ("vtk", "VTK failed: "),
        ("answer", "no dialog wanted the answer for question"),
        ("cursor", "an override cursor was not restored"),
        ("process", "still runs"),
    ],
)
def test_a_silent_fault_fails_the_test(outcome, name, message):
    assert f"ERROR test_planted.py::test_{name}" in outcome
    assert message in outcome


def test_a_fault_does_not_reach_the_next_test(outcome):
    assert "PASSED test_planted.py::test_clean" in outcome
    assert "ERROR test_planted.py::test_clean" not in outcome
