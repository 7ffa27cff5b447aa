"""slicer.modules and the module manager."""

# ruff: noqa: N801, N802, N815  # the names are those of Slicer, CTK or Qt

import types

import slicer
from PySide6 import QtCore

from Host.widgets.registry import stands_in


@stands_in
class qSlicerLoadableModule(QtCore.QObject):
    """One of Slicer's own modules, of which there is the logic, but no panel here."""

    def __init__(self, name: str, logic):
        super().__init__()
        self._host_name, self._host_logic = name, logic

    name = QtCore.Property(str, lambda self: self._host_name)
    title = QtCore.Property(str, lambda self: self._host_name)

    def logic(self):
        """The module's logic."""
        return self._host_logic

    def widgetRepresentation(self):
        """None: there is no panel."""


@stands_in
class qSlicerModuleFactoryManager(QtCore.QObject):
    """Knows what has been loaded."""

    def __init__(self, manager):
        super().__init__(manager)
        self._host_manager = manager

    def loadedModuleNames(self) -> list[str]:
        """The names of all loaded modules."""
        return self._host_manager.modulesNames()


@stands_in
class qSlicerModuleManager(QtCore.QObject):
    """All loaded modules by name."""

    moduleLoaded = QtCore.Signal(str)
    moduleAboutToBeUnloaded = QtCore.Signal(str)
    moduleUnloaded = QtCore.Signal(str)

    def __init__(self):
        super().__init__()
        self._host_modules: dict[str, QtCore.QObject] = {}
        self._host_factory = qSlicerModuleFactoryManager(self)

    def module(self, name: str):
        """A loaded module, or None."""
        return self._host_modules.get(name)

    def modulesNames(self) -> list[str]:
        """The names of all loaded modules."""
        return list(self._host_modules)

    def factoryManager(self):
        """The manager of what has been loaded."""
        return self._host_factory

    def _host_add(self, name: str, module: QtCore.QObject) -> None:
        self._host_modules[name] = module
        self.moduleLoaded.emit(name)

    def _host_remove(self, name: str) -> None:
        del self._host_modules[name]
        self.moduleUnloaded.emit(name)


def install(logics: dict) -> qSlicerModuleManager:
    """Fill slicer.modules and slicer.moduleNames with the modules of the core; returns their manager."""
    slicer.modules = types.SimpleNamespace()
    slicer.moduleNames = types.SimpleNamespace()
    manager = qSlicerModuleManager()
    for name, logic in logics.items():
        module = qSlicerLoadableModule(name, logic)
        setattr(slicer.modules, name.lower(), module)
        setattr(slicer.moduleNames, name, name)
        manager._host_add(name, module)
    return manager
