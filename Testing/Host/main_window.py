"""The main window: slicer.util.mainWindow(), its module selector and its status bar."""

# ruff: noqa: N801, N802, N815  # the names are those of Slicer, CTK or Qt

import slicer
from PySide6 import QtCore, QtWidgets

from Host.widgets.registry import stands_in


@stands_in
class qSlicerModuleSelectorToolBar(QtWidgets.QToolBar):
    """Where the user chooses a module: the panel of the one before is left, the new one's entered."""

    moduleSelected = QtCore.Signal(str)

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._host_selected = ""

    selectedModule = QtCore.Property(str, lambda self: self._host_selected)

    def selectModule(self, name: str) -> None:
        """Go to a module; "" is a module without a panel. RuntimeError for one that is not loaded."""
        manager = slicer.app.moduleManager()
        if name and manager.module(name) is None:
            raise RuntimeError(f"Could not find module with name '{name}'")
        if name == self._host_selected:
            return
        previous, self._host_selected = manager.module(self._host_selected), name
        self._host_tell(previous, "exit")
        self._host_tell(manager.module(name), "enter")
        self.moduleSelected.emit(name)

    @staticmethod
    def _host_tell(module, method: str) -> None:
        panel = module.widgetRepresentation() if module is not None else None
        if panel is not None:
            getattr(panel, method)()


@stands_in
class qSlicerMainWindow(QtWidgets.QMainWindow):
    """The window that message boxes stand in front of."""

    def __init__(self):
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._host_selector = qSlicerModuleSelectorToolBar(self)

    def moduleSelector(self):
        """The module selector."""
        return self._host_selector
