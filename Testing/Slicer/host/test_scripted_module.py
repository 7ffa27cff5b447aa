"""Loading, opening, reloading and unloading scripted modules."""

import importlib
import shutil
import sys

import pytest
import slicer
import vtk

MODULE = """
import qt
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin

from PlantedLib.words import WORD

EVENTS = []


class Planted(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Planted module")
        self.parent.categories = ["Segmentation"]


class PlantedWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = PlantedLogic()
        self.button = qt.QPushButton(WORD)
        self.layout.addWidget(self.button)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onClosed)
        EVENTS.append("setup")

    def enter(self):
        EVENTS.append("enter")

    def exit(self):
        EVENTS.append("exit")

    def cleanup(self):
        self.removeObservers()
        EVENTS.append("cleanup")

    def onClosed(self, caller, event):
        EVENTS.append("closed")


class PlantedLogic(ScriptedLoadableModuleLogic):
    pass


class PlantedTest(ScriptedLoadableModuleTest):
    def runTest(self):
        self.setUp()
        EVENTS.append("tested")
"""


@pytest.fixture
def file(tmp_path):
    folder = tmp_path / "Planted"
    (folder / "PlantedLib").mkdir(parents=True)
    (folder / "PlantedLib" / "__init__.py").write_text("", encoding="utf-8")
    (folder / "PlantedLib" / "words.py").write_text("WORD = 'Apply'\n", encoding="utf-8")
    (folder / "Planted.py").write_text(MODULE, encoding="utf-8")
    return folder / "Planted.py"


def test_loading_makes_the_module_but_no_panel(host, scene, file):
    loaded = host.load_module(file)
    assert slicer.modules.planted.title == "Planted module"
    assert slicer.util.modulePath("Planted") == str(file)
    assert "Planted" in slicer.util.moduleNames()
    assert not hasattr(slicer.modules, "PlantedWidget")
    assert loaded.module.EVENTS == []


def test_the_panel_is_made_once_and_entered_and_left_each_time(host, scene, file):
    loaded = host.load_module(file)
    widget = loaded.open()
    loaded.close()
    assert loaded.open() is widget
    assert loaded.module.EVENTS == ["setup", "enter", "exit", "enter"]
    assert slicer.util.getModuleWidget("Planted") is widget
    assert slicer.util.getModuleLogic("Planted") is widget.logic


def test_another_module_takes_the_place_of_the_one_before(host, scene, file):
    loaded = host.load_module(file)
    loaded.open()
    slicer.util.selectModule("Volumes")
    assert loaded.module.EVENTS[-1] == "exit"
    with pytest.raises(RuntimeError, match="Plantd"):
        slicer.util.selectModule("Plantd")


def test_reloading_takes_the_new_source(host, scene, file):
    loaded = host.load_module(file)
    before = loaded.open()
    events = loaded.module.EVENTS
    file.write_text(MODULE.replace("qt.QPushButton(WORD)", "qt.QPushButton('New')"), encoding="utf-8")
    after = loaded.reload()
    assert after is not before
    assert after.button.text == "New"
    assert events[-1] == "cleanup"
    assert loaded.module.EVENTS == ["setup", "enter"]


def test_unloading_cleans_up_and_forgets(host, scene, file):
    loaded = host.load_module(file)
    loaded.open()
    events = loaded.module.EVENTS
    loaded.unload()
    assert not loaded.loaded
    assert events == ["setup", "enter", "exit", "cleanup"]
    assert not [name for name in sys.modules if name.startswith("Planted")]
    assert not hasattr(slicer.modules, "planted")
    assert str(file.parent) not in sys.path


def test_closing_the_scene_reaches_the_observers(host, scene, file):
    loaded = host.load_module(file)
    loaded.open()
    slicer.mrmlScene.Clear()
    assert loaded.module.EVENTS[-1] == "closed"


def test_the_parameter_node_is_one_per_module_and_saved(host, scene, file, tmp_path):
    logic = host.load_module(file).module.PlantedLogic()
    node = logic.getParameterNode()
    assert logic.getParameterNode() is node
    node.SetParameter("word", "kept")
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert logic.getParameterNode().GetParameter("word") == "kept"


def test_resources_lie_beside_the_file(host, scene, file):
    widget = host.load_module(file).open()
    assert widget.resourcePath("UI/Planted.ui") == str(file.parent / "Resources" / "UI" / "Planted.ui")


def test_the_modules_own_test_can_be_run(host, scene, file):
    loaded = host.load_module(file)
    loaded.module.PlantedTest().runTest()
    assert loaded.module.EVENTS == ["tested"]


def test_developers_get_a_reload_button(host, scene, file):
    slicer.app.settings().setValue("Developer/DeveloperMode", True)
    widget = host.load_module(file).open()
    texts = [button.text for button in widget.parent.findChildren("QPushButton")]
    assert texts == ["Reload", "Reload and Test", "Apply"]


def test_the_same_library_from_another_folder_does_not_stand_in_the_way(host, scene, file, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(file.parent)
    import PlantedLib.words as words

    other = tmp_path / "qt-scripted-modules"
    shutil.copytree(file.parent, other)
    (other / "PlantedLib" / "words.py").write_text("WORD = 'Other'\n", encoding="utf-8")
    loaded = host.load_module(other / "Planted.py")
    assert loaded.open().button.text == "Other"
    loaded.unload()
    assert sys.modules["PlantedLib.words"] is words
    del sys.modules["PlantedLib"], sys.modules["PlantedLib.words"]


def test_what_is_forgotten_is_no_part_of_a_library_that_was_imported_before(host, scene, file, monkeypatch):
    monkeypatch.syspath_prepend(file.parent)
    library = importlib.import_module("PlantedLib")
    try:
        host.load_module(file).unload()
        assert "PlantedLib.words" not in sys.modules
        assert not hasattr(library, "words")
    finally:
        del sys.modules["PlantedLib"]


def test_a_module_cannot_be_loaded_twice(host, scene, file):
    host.load_module(file)
    with pytest.raises(RuntimeError, match="already"):
        host.load_module(file)


def test_a_module_that_cannot_be_imported_leaves_nothing_behind(host, scene, file):
    file.write_text("import PlantedLib.words\nraise ValueError('planted')\n", encoding="utf-8")
    with pytest.raises(ValueError, match="planted"):
        host.load_module(file)
    assert not [name for name in sys.modules if name.startswith("Planted")]


def test_vtk_events_are_observed_as_in_slicer(host, scene, file):
    widget = host.load_module(file).open()
    node = scene.AddNewNodeByClass("vtkMRMLTextNode")
    seen = []
    widget.addObserver(node, vtk.vtkCommand.ModifiedEvent, lambda caller, event: seen.append(event))
    node.SetText("new")
    assert seen == ["ModifiedEvent"]
