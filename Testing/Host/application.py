"""slicer.app: the application object."""

# ruff: noqa: N801, N802, N803, N815  # the names are those of Slicer, CTK or Qt

import os
import sys
import types
from pathlib import Path

import slicer
from PySide6 import QtCore, QtWidgets

from Host.mrml.storage import qSlicerCoreIOManager
from Host.pythonqt.signals import HostSignal
from Host.widgets.registry import stands_in

_WITHOUT_MEANING = "This plugin does not support propagateSizeHints()"  # there is no window manager


@stands_in
class qSlicerApplication(QtWidgets.QApplication):
    """The application: the core's scene and logic, managers, settings in a folder of its own.

    With testingEnabled() Slicer's message boxes are only logged; here it is off, so that they are shown (and recorded).
    """

    startupCompleted = QtCore.Signal()
    renderPaused = QtCore.Signal(bool)
    mrmlSceneChanged = HostSignal("mrmlSceneChanged(vtkMRMLScene*)")

    def __init__(self, core, home: Path):
        super().__init__(["Slicer"])
        self._host_core, self._host_home = core, home
        self._host_testing = False
        self._host_module_manager = self._host_layout_manager = None
        self._host_io = qSlicerCoreIOManager()
        self._host_urls = "https://slicer.readthedocs.io/en/latest/"
        for folder in (home / "bin", home / "tmp"):
            folder.mkdir(parents=True, exist_ok=True)
        QtCore.QCoreApplication.setOrganizationName("NA-MIC")
        QtCore.QCoreApplication.setApplicationName("Slicer")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(home / "settings"))
        self._host_settings = QtCore.QSettings()
        self.setQuitOnLastWindowClosed(False)
        QtCore.qInstallMessageHandler(_print_message)

    applicationName = QtCore.Property(str, lambda self: "Slicer")
    applicationVersion = QtCore.Property(str, lambda self: "5.13.0-host")
    majorVersion = QtCore.Property(int, lambda self: 5)
    minorVersion = QtCore.Property(int, lambda self: 13)
    slicerHome = QtCore.Property(str, lambda self: str(self._host_home))
    temporaryPath = QtCore.Property(str, lambda self: str(self._host_home / "tmp"))
    os = QtCore.Property(str, lambda self: {"nt": "win"}.get(os.name, "linux"))
    documentationBaseUrl = QtCore.Property(str, lambda self: self._host_urls)

    def mrmlScene(self):
        """The one scene."""
        return self._host_core.scene

    def applicationLogic(self):
        """The vtkSlicerApplicationLogic."""
        return self._host_core.application_logic

    mrmlApplicationLogic = applicationLogic

    def moduleManager(self):
        """The manager of all modules."""
        return self._host_module_manager

    def layoutManager(self):
        """The manager of the views."""
        return self._host_layout_manager

    def coreIOManager(self):
        """The reader and writer of files."""
        return self._host_io

    ioManager = coreIOManager

    def settings(self):
        """The user's settings; qt.QSettings() is the same file."""
        return self._host_settings

    userSettings = revisionUserSettings = settings

    def commandOptions(self):
        """The options of the command line."""
        return types.SimpleNamespace(noMainWindow=False, testingEnabled=self._host_testing, runPythonAndExit=False)

    def testingEnabled(self) -> bool:
        """Whether Slicer was started with --testing."""
        return self._host_testing

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        """The environment that Slicer was started in, without what its launcher has added."""
        environment = QtCore.QProcessEnvironment.systemEnvironment()
        for name in ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH"):
            environment.remove(name)
        folders = environment.value("PATH").split(os.pathsep)
        own = str(self._host_home / "bin")
        environment.insert("PATH", os.pathsep.join(folder for folder in folders if folder != own))
        return environment

    def moduleDocumentationUrl(self, moduleName: str) -> str:
        """The address of a module's page."""
        return f"{self._host_urls}user_guide/modules/{moduleName.lower()}.html"

    def translate(self, context: str, text: str) -> str:
        """The text in the user's language: here English."""
        return text

    def setRenderPaused(self, paused: bool) -> None:
        """Stop or start the views' rendering."""
        self.renderPaused.emit(paused)

    def pauseRender(self) -> None:
        """Stop the views' rendering."""
        self.setRenderPaused(True)

    def resumeRender(self) -> None:
        """Start the views' rendering."""
        self.setRenderPaused(False)

    def openNodeModule(self, node, role: str = "", context: str = "") -> None:
        """Go to the module that suits a node; the host only checks that there is a node."""
        if not isinstance(node, slicer.vtkMRMLNode):
            raise ValueError(f"{node!r} is not a node")


def _print_message(kind, context, message: str) -> None:
    if message != _WITHOUT_MEANING:
        print(message, file=sys.stderr)
