"""Loading a scripted module from its file, in any layout, and forgetting it again."""

import importlib.util
import sys
from pathlib import Path

import slicer

from Host.scripted.module import qSlicerScriptedLoadableModule


class LoadedModule:
    """A scripted module that the application has loaded.

    name; module: the Python module; description: its qSlicerScriptedLoadableModule; loaded: until it is unloaded.
    """

    def __init__(self, file: Path):
        """Load the module as the application does at its start: its folder goes onto sys.path, its class is made."""
        self._file = file.resolve()
        self.name = self._file.stem
        if slicer.app.moduleManager().module(self.name) is not None:
            raise RuntimeError(f"there is a module {self.name} already; unload it first")
        self.loaded = False
        self._path_before = list(sys.path)
        self._put_away = self._imported_from_elsewhere()
        for name in self._put_away:
            del sys.modules[name]
        self._modules_before = set(sys.modules)
        sys.path.insert(0, str(self._file.parent))
        spec = importlib.util.spec_from_file_location(self.name, self._file)
        self.module = importlib.util.module_from_spec(spec)
        sys.modules[self.name] = self.module
        try:
            spec.loader.exec_module(self.module)
            self.description = qSlicerScriptedLoadableModule(self.name, str(self._file))
            self._instance = getattr(self.module, self.name)(self.description)
        except BaseException:
            self._forget()
            raise
        setattr(slicer.modules, self.name.lower(), self.description)
        setattr(slicer.modules, self.name + "Instance", self._instance)
        setattr(slicer.moduleNames, self.name, self.name)
        slicer.app.moduleManager()._host_add(self.name, self.description)
        self.loaded = True

    def open(self):
        """Go to the module: its panel is made on the first time, and entered. Returns the Python widget."""
        slicer.util.selectModule(self.name)
        return self.widget

    def close(self) -> None:
        """Go elsewhere: the panel is left, and stays."""
        if slicer.util.mainWindow().moduleSelector().selectedModule == self.name:
            slicer.util.selectModule("")

    @property
    def panel(self):
        """The panel's widget of Qt."""
        return self.description.widgetRepresentation()

    @property
    def widget(self):
        """The module's Python widget."""
        return self.panel.self()

    def reload(self):
        """Reload the source and make the panel anew, as the developer's button does. Returns the new Python widget."""
        self.module = slicer.util.reloadScriptedModule(self.name)
        return self.widget

    def unload(self) -> None:
        """Close the panel, clean it up, and forget the module and all that it imported from its own folder. Once."""
        if not self.loaded:
            return
        self.loaded = False
        self.close()
        made = self.description._host_widget
        manager = slicer.app.moduleManager()
        manager.moduleAboutToBeUnloaded.emit(self.name)
        manager._host_remove(self.name)
        if made is not None:
            made.delete()
            delattr(slicer.modules, self.name + "Widget")
        for name in (self.name.lower(), self.name + "Instance"):
            delattr(slicer.modules, name)
        delattr(slicer.moduleNames, self.name)
        self._forget()

    def _imported_from_elsewhere(self) -> dict:
        """Modules that this folder has, too, imported from another layout: they would stand in the way."""
        folder = self._file.parent
        own = {entry.stem for entry in folder.glob("*.py")}
        own |= {entry.parent.name for entry in folder.glob("*/__init__.py")}
        return {
            name: module
            for name, module in sys.modules.items()
            if name.partition(".")[0] in own and not self._is_mine(module)
        }

    def _is_mine(self, module) -> bool:
        file = getattr(module, "__file__", None)
        return file is not None and Path(file).resolve().is_relative_to(self._file.parent)

    def _forget(self) -> None:
        sys.path[:] = self._path_before
        for name in set(sys.modules) - self._modules_before | {self.name}:
            if name in sys.modules and self._is_mine(sys.modules[name]):
                del sys.modules[name]
                package, _, part = name.rpartition(".")
                if package in sys.modules:  # one that was there before: it would still give its part to importers
                    vars(sys.modules[package]).pop(part, None)
        sys.modules.update(self._put_away)
