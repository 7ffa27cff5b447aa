"""The C++ objects of a scripted module: qSlicerScriptedLoadableModule and its widget."""

# ruff: noqa: N801, N802, N815  # the names are those of Slicer, CTK or Qt

import sys

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from Host.widgets.mrml_widgets import qMRMLWidget
from Host.widgets.registry import stands_in
from Host.widgets.stored import stored


@stands_in
class qSlicerScriptedLoadableModule(QtCore.QObject):
    """A module as the application sees it: its description, and its panel, which is made when it is first wanted."""

    title = stored("title", str, "")
    categories = stored("categories", "QStringList", [])
    contributors = stored("contributors", "QStringList", [])
    dependencies = stored("dependencies", "QStringList", [])
    associatedNodeTypes = stored("associatedNodeTypes", "QStringList", [])
    helpText = stored("helpText", str, "")
    acknowledgementText = stored("acknowledgementText", str, "")
    index = stored("index", int, -1)
    hidden = stored("hidden", bool, False)
    icon = stored("icon", QtGui.QIcon, QtGui.QIcon())
    widgetRepresentationCreationEnabled = stored("widgetRepresentationCreationEnabled", bool, True)

    def __init__(self, name: str, path: str):
        super().__init__()
        self._host_name, self._host_path, self._host_widget = name, path, None

    name = QtCore.Property(str, lambda self: self._host_name)
    path = QtCore.Property(str, lambda self: self._host_path)

    def widgetRepresentation(self):
        """The panel, made and set up on the first call."""
        if self._host_widget is None:
            self._host_widget = self.createNewWidgetRepresentation()
        return self._host_widget

    def createNewWidgetRepresentation(self):
        """Another panel."""
        return qSlicerScriptedLoadableModuleWidget(self._host_name)

    def logic(self):
        """None: a scripted module has no logic of C++."""


@stands_in
class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The panel's widget: it makes the module's Python widget (`self()`), sets it up, and tells it enter and exit."""

    def __init__(self, module_name: str):
        super().__init__()
        self._host_module_name, self._host_entered = module_name, False
        self.setObjectName(module_name + "ModuleWidget")
        self.setLayout(QtWidgets.QVBoxLayout())
        self._host_make()
        self.setMRMLScene(slicer.mrmlScene)

    moduleName = QtCore.Property(str, lambda self: self._host_module_name)
    isEntered = QtCore.Property(bool, lambda self: self._host_entered)

    def self(self):
        """The module's Python widget."""
        return self._host_python_widget

    def enter(self) -> None:
        """The user comes to the module."""
        self._host_entered = True
        self._host_call("enter")

    def exit(self) -> None:
        """The user leaves the module."""
        self._host_entered = False
        self._host_call("exit")

    def reload(self) -> None:
        """Make the Python widget anew, from the class that the module has now."""
        self._host_make()
        if self._host_entered:
            self._host_call("enter")

    def _host_make(self) -> None:
        name = self._host_module_name
        kind = getattr(sys.modules[name], name + "Widget")
        self._host_python_widget = kind(self)
        setattr(slicer.modules, name + "Widget", self._host_python_widget)
        self._host_python_widget.setup()

    def _host_call(self, method: str) -> None:
        if hasattr(self._host_python_widget, method):
            getattr(self._host_python_widget, method)()
