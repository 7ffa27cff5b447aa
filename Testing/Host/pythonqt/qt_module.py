"""The module `qt`: all classes of Qt in one namespace, without what only PySide6 has (Signal, Slot, Property, ...)."""

import inspect
import sys
import types

from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets

from Host import dialogs, processes
from Host.pythonqt.classes import bend
from Host.ui_loader import UiLoader


def install() -> types.ModuleType:
    """Bend PySide6 and make `import qt` work. Once per process."""
    qt = types.ModuleType("qt", __doc__)
    for module in (QtCore, QtGui, QtNetwork, QtWidgets, QtUiTools):
        for name in dir(module):  # its classes are made when they are first asked for
            if name.startswith("Q"):
                setattr(qt, name, getattr(module, name))
    bend([value for value in vars(qt).values() if inspect.isclass(value) and issubclass(value, QtCore.QObject)])
    QtCore.QEventLoop.exec_ = QtCore.QEventLoop.exec
    dialogs.install()
    _bend_timers()
    _bend_processes()
    qt.QUiLoader = UiLoader
    sys.modules["qt"] = qt
    return qt


def _bend_timers() -> None:
    """PySide6's singleShot connects in a way of its own, past the rules for slots."""

    def single_shot(delay: int, slot, /) -> None:
        timer = QtCore.QTimer(QtCore.QCoreApplication.instance())
        timer.setSingleShot(True)
        timer.timeout.connect(slot)
        timer.timeout.connect(timer.deleteLater)
        timer.start(delay)

    QtCore.QTimer.__dict__["singleShot"].function = single_shot


def _bend_processes() -> None:
    """Bytes go in as a QByteArray: as `bytes` PythonQt would take them for a text that ends at its first zero."""
    write = QtCore.QProcess.write
    initialize = QtCore.QProcess.__init__

    def write_array(self, data, /):
        if not isinstance(data, QtCore.QByteArray):
            raise TypeError(f"QProcess.write takes a qt.QByteArray, not {type(data).__name__}")
        return write(self, data)

    def initialize_watched(self, *arguments, **keywords):
        initialize(self, *arguments, **keywords)
        processes.watch(self)

    QtCore.QProcess.write = write_array
    QtCore.QProcess.__init__ = initialize_watched
