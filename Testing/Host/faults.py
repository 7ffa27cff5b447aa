"""What went wrong without raising where a test could see it.

PythonQt prints exceptions of slots and goes on; VTK prints those of observers, and its own errors never become Python
exceptions. The host collects all of them, so that a test can fail on them.
"""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import vtk


class Faults:
    """The lists of faults, each one text: `slots` and `observers` with tracebacks, `vtk_errors`, `vtk_warnings`."""

    def __init__(self):
        self.slots: list[str] = []
        self.observers: list[str] = []
        self.vtk_errors: list[str] = []
        self.vtk_warnings: list[str] = []

    def clear(self) -> None:
        """Forget all of them."""
        for faults in (self.slots, self.observers, self.vtk_errors, self.vtk_warnings):
            faults.clear()

    def take_vtk_errors(self) -> list[str]:
        """The VTK errors so far, which a test expected: they no longer count."""
        taken = list(self.vtk_errors)
        self.vtk_errors.clear()
        return taken

    def take_slots(self) -> list[str]:
        """The exceptions of slots so far, which a test expected: they no longer count."""
        taken = list(self.slots)
        self.slots.clear()
        return taken

    def report(self) -> str:
        """All faults (warnings are none) as one text; empty if there are none."""
        kinds = {"a slot": self.slots, "an observer": self.observers, "VTK": self.vtk_errors}
        return "\n".join(f"{kind} failed: {text}" for kind, texts in kinds.items() for text in texts)


FAULTS = Faults()


def slot_failed(error: BaseException) -> None:
    """Collect an exception that a slot has raised."""
    FAULTS.slots.append("".join(traceback.format_exception(error)))


@contextmanager
def collecting_observers() -> Iterator[None]:
    """Collect the exceptions that VTK's and Qt's callbacks hand to sys.excepthook instead of raising them."""

    def collect(kind, error, trace):
        FAULTS.observers.append("".join(traceback.format_exception(kind, error, trace)))

    before, sys.excepthook = sys.excepthook, collect
    try:
        yield
    finally:
        sys.excepthook = before


def collect_vtk_messages() -> None:
    """Have VTK's errors and warnings collected instead of printed, from now on."""
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    window = vtk.vtkOutputWindow()
    window.SetDisplayModeToNever()
    for event, texts in (("ErrorEvent", FAULTS.vtk_errors), ("WarningEvent", FAULTS.vtk_warnings)):

        def collect(caller, event, text, texts=texts):
            texts.append(text)

        collect.CallDataType = vtk.VTK_STRING
        window.AddObserver(event, collect)
    vtk.vtkOutputWindow.SetInstance(window)
