"""How the module behaves with a large volume, in the host that stands in for Slicer: prints JSON.

A click on Segment with 512 x 512 x 300 voxels (int16): how long the event loop stood still at most until the result
came, and how long putting the result into the scene took (under a wait cursor); first progress of a cold and of a warm
engine. The model is phantom-tiny on the CPU. Compares nothing; the limits are the project's own.
"""

import json
import platform
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from Host import boot

SIZE = (300, 512, 512)  # K, J, I
BLOCKED_AT_MOST, IMPORT_AT_MOST, WARM_AT_MOST = 0.1, 3.0, 1.0  # seconds


def main() -> None:
    host = boot.boot()
    import numpy as np
    import slicer
    from Host.event_loop import Blocking

    slicer.app.settings().setValue("DinoUNetSlicer/EngineKind", "python")
    slicer.app.settings().setValue("DinoUNetSlicer/EngineCommand", sys.executable)
    widget = host.load_source("DinoUNetSlicer").open()
    from DinoUNetSlicerLib import segmenting

    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "large")
    voxels = np.random.default_rng(0).integers(-1000, 400, SIZE, dtype=np.int16)
    slicer.util.updateVolumeFromArray(volume, voxels)
    widget.ui.inputVolumeSelector.setCurrentNode(volume)

    times: dict[str, float] = {}
    show = segmenting.show

    def timed_show(*arguments):
        times["blocked"] = blocking.longest
        started = time.monotonic()
        node = show(*arguments)
        times["import"] = time.monotonic() - started
        return node

    def first_progress(name: str) -> None:
        """Note when the engine's first progress event comes."""
        started = time.monotonic()
        progress = widget.panel.run._progress

        def noted(fraction, seconds_left, stage):
            if stage not in ("starting", "sending"):
                times.setdefault(name, time.monotonic() - started)
            progress(fraction, seconds_left, stage)

        widget.panel.run._progress = noted

    segmenting.show = timed_show
    with Blocking() as blocking:
        first_progress("cold")
        widget.ui.segmentButton.click()
        host.wait_until(lambda: not widget.panel.run.running, 600, "the result")
    first = dict(times)
    small = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "small")
    slicer.util.updateVolumeFromArray(small, voxels[:20, :128, :128])
    widget.ui.inputVolumeSelector.setCurrentNode(small)
    first_progress("warm")
    widget.ui.segmentButton.click()
    host.wait_until(lambda: not widget.panel.run.running, 600, "the result")
    result = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "voxels": SIZE,
        "status": widget.ui.statusLabel.text,
        "longest_block_seconds": round(first["blocked"], 3),
        "import_seconds": round(first["import"], 3),
        "first_progress_seconds": {"cold": round(first["cold"], 2), "warm": round(times["warm"], 3)},
        "within_limits": first["blocked"] <= BLOCKED_AT_MOST
        and first["import"] <= IMPORT_AT_MOST
        and times["warm"] <= WARM_AT_MOST,
    }
    host.unload_modules()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
