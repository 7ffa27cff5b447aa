"""Child processes that a test leaves behind."""

import weakref
from pathlib import Path

import shiboken6
from PySide6 import QtCore

_started_through_qt: weakref.WeakSet = weakref.WeakSet()


def watch(process: QtCore.QProcess) -> None:
    """Have a QProcess counted by `running`."""
    _started_through_qt.add(process)


def running() -> list[str]:
    """The programs that were started through qt.QProcess and still run."""
    return [process.program() for process in _running()]


def end_all() -> None:
    """End the processes that were started through qt.QProcess."""
    for process in _running():
        process.blockSignals(True)
        process.kill()
        process.waitForFinished()


def _running() -> list[QtCore.QProcess]:
    alive = [process for process in _started_through_qt if shiboken6.isValid(process)]
    return [process for process in alive if process.state() != QtCore.QProcess.NotRunning]


def child_ids() -> set[int]:
    """The ids of this process's children; empty where the system does not tell (elsewhere than on Linux)."""
    return {
        int(identity)
        for file in Path("/proc/self/task").glob("*/children")
        for identity in file.read_text(encoding="ascii").split()
    }
