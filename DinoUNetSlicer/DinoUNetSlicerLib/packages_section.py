"""The Python packages of Slicer's own Python: what is there, and one button for the rest."""

from collections.abc import Callable

import qt
import slicer

from DinoUNetSlicerLib import dependencies
from DinoUNetSlicerLib.engine import Engine
from DinoUNetSlicerLib.errors import UserError


class PackagesSection:
    """say: shows a sentence."""

    def __init__(self, ui, engine: Engine, say: Callable[[str, bool], None]):
        self.ui, self.engine, self.say = ui, engine, say
        ui.installButton.connect("clicked(bool)", self.install)

    def refresh(self) -> None:
        """Show the versions."""
        versions = dependencies.versions()
        self.ui.packagesLabel.setText(
            "\n".join(f"{name}: {version or 'not installed'}" for name, version in versions.items())
        )
        self.ui.installButton.setEnabled(None in versions.values())

    def install(self) -> None:
        """Install what is missing; the engine is ended first, as it holds files that pip may replace."""
        self.engine.stop()
        slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            dependencies.install()
        except UserError as error:
            self.say(str(error), True)
        except Exception as error:  # a click on Cancel as well as whatever pip meets
            self.say(f"nothing more was installed: {error}", True)
        else:
            missing = ", ".join(dependencies.missing())
            self.say(
                f"these packages are still missing: {missing}; see Slicer's error log."
                if missing
                else "The packages are installed. If the engine does not start, restart Slicer.",
                bool(missing),
            )
        finally:
            slicer.app.restoreOverrideCursor()
            self.refresh()
