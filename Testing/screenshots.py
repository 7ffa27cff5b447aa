"""Draws the README's picture of the module: python Testing/screenshots.py Resources/slicer.png.

The panel is the real one in the host's widgets; slice and 3D views come from Slicer's own displayable managers.
"""

import sys
from pathlib import Path

from Host import boot

SIZE, PANEL = (1280, 760), 400  # pixels


def main(picture: Path) -> None:
    host = boot.boot()
    import slicer
    from Host.screenshots import save_window

    slicer.app.settings().setValue("DinoUNetSlicer/EngineKind", "python")
    slicer.app.settings().setValue("DinoUNetSlicer/EngineCommand", sys.executable)
    loaded = host.load_source("DinoUNetSlicer")
    widget = loaded.open()
    widget.ui.sampleDataButton.click()
    host.wait_until(lambda: widget.ui.inputVolumeSelector.currentNode() is not None, 120, "the phantom")
    widget.ui.segmentButton.click()
    host.wait_until(lambda: not widget.panel.run.running, 120, "the segmentation")
    widget.ui.outputSelector.currentNode().CreateClosedSurfaceRepresentation()
    save_window(loaded.panel, picture, SIZE, PANEL)
    host.reset()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
