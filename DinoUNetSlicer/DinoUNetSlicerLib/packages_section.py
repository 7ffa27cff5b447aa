"""The Python packages of Slicer's own Python: what is there, and one button for the rest."""

from collections.abc import Callable

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
        self.ui.installButton.setEnabled(bool(dependencies.unmet()))

    def install(self) -> None:
        """Install what is unmet; the engine is ended first, as it holds files that pip may replace."""
        self.engine.stop()
        try:
            dependencies.install()
        except UserError as error:
            self.say(str(error), True)
        except Exception as error:  # a click on Cancel as well as whatever pip meets
            self.say(f"nothing more was installed: {error}", True)
        else:
            unmet = ", ".join(dependencies.unmet())
            self.say(
                f"these packages are still missing: {unmet}; see Slicer's error log."
                if unmet
                else "The packages are installed. If the engine does not start, restart Slicer.",
                bool(unmet),
            )
        self.refresh()
