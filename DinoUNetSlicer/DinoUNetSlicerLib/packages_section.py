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
        except Exception as error:  # pip and the packaging tools raise many kinds
            self.say(f"the packages could not be installed ({error}); see the error log and the network.", True)
        else:
            self.say("The packages are installed. If the engine does not start, restart Slicer.", False)
        finally:
            slicer.app.restoreOverrideCursor()
            self.refresh()
