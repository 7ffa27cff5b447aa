"""The module slicer.ScriptedLoadableModule: the base classes that a scripted module's classes derive from."""

# ruff: noqa: N802, N803  # the names are those of Slicer, CTK or Qt

import logging
import sys
import unittest
from pathlib import Path

import slicer
from PySide6 import QtWidgets

from Host.widgets.collapsible_button import ctkCollapsibleButton


class ScriptedLoadableModule:
    """The module's description: its constructor fills `parent`, a qSlicerScriptedLoadableModule."""

    def __init__(self, parent):
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = self.moduleName
        parent.categories = ["Uncategorized"]
        parent.dependencies = []
        parent.contributors = ["Contributor"]
        parent.helpText = ""
        parent.acknowledgementText = ""

    def resourcePath(self, filename: str) -> str:
        """The path of a file in the folder Resources beside the module's file."""
        return _resource_path(self.moduleName, filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        """A sentence of HTML with a link to the module's page."""
        page = docPage or slicer.app.moduleDocumentationUrl(self.moduleName)
        return f'<p>For more information see the <a href="{page}">online documentation</a>.</p>'

    def runTest(self, msec: int = 100, **parameters) -> None:
        """Run the module's own test."""
        _run_test(self.moduleName)


class ScriptedLoadableModuleWidget:
    """The module's panel. `parent` is its widget, `layout` that widget's layout.

    The application calls setup() when the panel is first opened, enter() and exit() when it is shown and left, and
    cleanup() before the panel goes away.
    """

    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, slicer.util.toBool)
        if parent is None:
            parent = slicer.qMRMLWidget()
            parent.setLayout(QtWidgets.QVBoxLayout())
            parent.setMRMLScene(slicer.mrmlScene)
        self.parent = parent
        self.layout = parent.layout()
        manager = slicer.app.moduleManager()
        manager.connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        """The path of a file in the folder Resources beside the module's file."""
        return _resource_path(self.moduleName, filename)

    def setup(self) -> None:
        """Make the panel; modules call this first, and get the developer's buttons where those are wanted."""
        if not self.developerMode:
            return
        self.reloadCollapsibleButton = ctkCollapsibleButton("Reload && Test")
        self.layout.addWidget(self.reloadCollapsibleButton)
        row = QtWidgets.QHBoxLayout(self.reloadCollapsibleButton)
        for text, slot in (("Reload", self.onReload), ("Reload and Test", self.onReloadAndTest)):
            button = QtWidgets.QPushButton(text)
            button.connect("clicked()", slot)
            row.addWidget(button)

    def cleanup(self) -> None:
        """Let everything go; modules override it."""

    def onReload(self) -> None:
        """Load the module's source again and make the panel anew."""
        slicer.util.reloadScriptedModule(self.moduleName)

    def onReloadAndTest(self, **parameters) -> None:
        """Reload, then run the module's own test."""
        self.onReload()
        _run_test(self.moduleName)

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            manager = slicer.app.moduleManager()
            manager.disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """What the module can do. Its parameter node is a singleton of the scene, or one of several."""

    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self):
        """The module's vtkMRMLScriptedModuleNode in the scene, made where there is none."""
        nodes = self.getAllParameterNodes()
        return nodes[0] if nodes else slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list:
        """All parameter nodes of this module."""
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self):
        """A new parameter node, not yet in the scene."""
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)  # the variable holds it
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetModuleName(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The module's own test; runTest() runs it."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.messageDelay = 1000
        self.enableScreenshots = False
        self.screenshotScaleFactor = 1.0

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        """Tell the user something; here it is logged and nobody waits."""
        logging.info(message)

    def setUp(self) -> None:
        """Start with an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Modules override it."""


def _resource_path(module_name: str, filename: str) -> str:
    return str(Path(slicer.util.modulePath(module_name)).parent / "Resources" / filename)


def _run_test(module_name: str) -> None:
    getattr(sys.modules[module_name], module_name + "Test")().runTest()
