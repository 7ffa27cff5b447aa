"""What a test does with the host."""

from collections.abc import Callable
from pathlib import Path

import slicer
from PySide6 import QtWidgets

from Host import event_loop, processes, screenshots
from Host.dialogs import DIALOGS
from Host.faults import FAULTS
from Host.packaging_double import PACKAGING
from Host.scripted import layouts
from Host.scripted.files import LoadedModule


class Host:
    """The running application.

    scene: slicer.mrmlScene; app: slicer.app; dialogs: what was shown, and answers; faults: what failed silently;
    packaging: what was to be installed.
    """

    def __init__(self, core, application, window):
        self.core, self.app, self.window = core, application, window
        self.scene = core.scene
        self.dialogs, self.faults, self.packaging = DIALOGS, FAULTS, PACKAGING
        self._loaded: list[LoadedModule] = []
        self._own_widgets = set(QtWidgets.QApplication.topLevelWidgets())

    def load_module(self, file: str | Path) -> LoadedModule:
        """Load a scripted module from its file."""
        loaded = LoadedModule(Path(file))
        self._loaded.append(loaded)
        return loaded

    def load_source(self, name: str) -> LoadedModule:
        """Load a scripted module of this checkout."""
        return self.load_module(layouts.source_file(name))

    def load_installed(self, name: str, folder: Path) -> LoadedModule:
        """Copy a scripted module of this checkout as an installed extension has it into a folder, and load it there."""
        return self.load_module(layouts.install(name, folder))

    def unload_modules(self) -> None:
        """Close, clean up and forget all modules that were loaded."""
        while self._loaded:
            self._loaded.pop().unload()

    def wait_until(self, condition: Callable[[], bool], timeout: float = 20.0, what: str = "the condition") -> float:
        """Process events until the condition holds; see event_loop.wait_until."""
        return event_loop.wait_until(condition, timeout, what)

    def process_events(self, seconds: float = 0.0) -> float:
        """Process events for a while; see event_loop.process_events."""
        return event_loop.process_events(seconds)

    def save_picture(self, widget: QtWidgets.QWidget, path: str | Path, width: int = 500) -> None:
        """Save a widget as a PNG; see screenshots.save_widget."""
        screenshots.save_widget(widget, path, width)

    def save_window(self, panel: QtWidgets.QWidget, path: str | Path, **options) -> None:
        """Save a panel beside four views as a PNG; see screenshots.save_window."""
        screenshots.save_window(panel, path, **options)

    def reset(self) -> None:
        """Make everything as after the start: no modules, processes, widgets, nodes, settings, dialogs, faults."""
        self.unload_modules()
        processes.end_all()
        for widget in QtWidgets.QApplication.topLevelWidgets():
            if widget not in self._own_widgets and widget.parent() is None:
                widget.deleteLater()
        self.process_events()
        slicer.util.selectModule("")
        self.scene.Clear(False)
        self.process_events()
        self.app.settings().clear()
        while QtWidgets.QApplication.overrideCursor() is not None:
            QtWidgets.QApplication.restoreOverrideCursor()
        for record in (self.dialogs, self.faults, self.packaging):
            record.clear()

    def leftovers(self) -> list[str]:
        """What a test should not leave behind: running processes, answers that no dialog wanted, a wait cursor."""
        found = [f"the process {program} still runs" for program in processes.running()]
        found += [f"no dialog wanted the answer for {kind}" for kind in self.dialogs.unused_answers()]
        if QtWidgets.QApplication.overrideCursor() is not None:
            found.append("an override cursor was not restored")
        return found
