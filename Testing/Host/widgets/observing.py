"""Connections from other objects to a double that do not keep it alive, as in C++."""

import weakref

import shiboken6
import vtk


def weakly(widget, method: str):
    """A slot that calls a method of a widget, as long as there is the widget."""
    widget = weakref.ref(widget)

    def call(*arguments):
        alive = widget()
        if alive is not None and shiboken6.isValid(alive):
            getattr(alive, method)(*arguments)

    return call


class Observer:
    """Calls a method of a widget at an event of a VTK object; the widget is not kept alive by it.

    with_node: the event carries a node (only NodeAddedEvent and its like do), which the method is given.
    """

    def __init__(self, widget, method: str, subject, event, with_node: bool = False):
        self._subject = subject
        slot = weakly(widget, method)

        def call(caller, name, *node):
            slot(*node)

        if with_node:
            call.CallDataType = vtk.VTK_OBJECT
        self._tag = subject.AddObserver(event, call)
        weakref.finalize(widget, self.remove)

    def remove(self) -> None:
        """Stop observing."""
        self._subject.RemoveObserver(self._tag)
