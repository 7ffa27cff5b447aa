"""Starting the host: once per process, before anything imports qt, ctk or the module under test."""

import importlib
import importlib.util
import sys
import tempfile
from pathlib import Path

_NEEDED = {"slicer_core": "slicer-core", "vtk": "vtk", "PySide6": "PySide6-Essentials"}
_host = None


def missing_packages() -> list[str]:
    """The packages that the host needs and that are not installed, or a library of the system that they lack."""
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if not missing:
        for module in ("PySide6.QtWidgets", "slicer"):
            try:
                importlib.import_module(module)
            except ImportError as error:
                missing.append(f"a library of the system (see CONTRIBUTING.md; {error})")
    return missing


def boot(home: Path | None = None):
    """The host, started on the first call. home: an empty folder for settings and temporary files.

    Raises ModuleNotFoundError where packages are missing.
    """
    global _host
    if _host is None:
        missing = missing_packages()
        if missing:
            raise ModuleNotFoundError(f"the host needs {', '.join(missing)}; install them with pip")
        _check_pyside()
        _host = _start(home or Path(tempfile.mkdtemp(prefix="slicer-host-")))
    return _host


def _check_pyside() -> None:
    from PySide6 import QtCore

    if not isinstance(QtCore.QProcess.NotRunning, int):
        raise RuntimeError("PySide6 was imported before the package Host, which has to set its options")
    # PySide6 6.12.0 gives away a reference to None with every call, which ends Python before 3.12 after a while.
    probe, references = QtCore.QObject(), sys.getrefcount(None)
    for _ in range(100):
        probe.setObjectName("probe")
    if references - sys.getrefcount(None) > 50:
        raise RuntimeError(f"PySide6 {QtCore.__version__} loses references to None; install 'PySide6-Essentials<6.12'")


def _start(home: Path):
    import slicer
    import slicer.util

    from Host.faults import FAULTS, collect_vtk_messages

    collect_vtk_messages()
    # The wheel puts all of slicer.util into slicer; Slicer does not.
    for name in slicer.util.__all__:
        if name in vars(slicer):
            delattr(slicer, name)

    from Host.pythonqt import qt_module

    qt_module.install()
    from Host import doubles
    from Host.application import qSlicerApplication
    from Host.host import Host
    from Host.main_window import qSlicerMainWindow
    from Host.modules import install as install_modules
    from Host.mrml.core import Core
    from Host.views.layout_manager import qSlicerLayoutManager

    doubles.install()
    core = Core(home / "tmp")
    slicer.mrmlScene = core.scene
    slicer.app = application = qSlicerApplication(core, home)
    application._host_module_manager = install_modules(core.logics)
    application._host_layout_manager = qSlicerLayoutManager(core)
    window = qSlicerMainWindow()
    FAULTS.clear()  # the wheel has no terminologies, which their logic reports as errors
    return Host(core, application, window)
