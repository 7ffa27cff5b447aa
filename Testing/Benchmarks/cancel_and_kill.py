"""Cancels segmentations and kills engines at random moments, in the host that stands in for Slicer: prints JSON.

After each of them the module has to say what happened in one sentence and be ready again, with the scene as it was; in
the end a segmentation has to succeed. Exit code 1 if it does not, or if a process, a temporary file or a node is left.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from Host import boot

PATIENCE = 10.0  # seconds, for a cancel or the death of an engine to be reported
LONGEST = 3.0  # seconds from the click on Segment to its end: from the start of a process to the middle of the work
COLD_EVERY = 10  # cancels; then the engine is unloaded, so that the next one meets a start from nothing
TORCHS_OWN = "torchinductor_"  # begins the name of the one folder per user that importing PyTorch makes
SLICES = 720  # of 96 x 96 voxels, more than can be segmented meanwhile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50, help="how many cancels, and how many kills (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments (default: 1)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cancel-and-kill-") as temporary:
        os.environ.update(dict.fromkeys(("TMPDIR", "TEMP", "TMP"), temporary))  # for the engines, too
        tempfile.tempdir = temporary
        result = stress(arguments.count, random.Random(arguments.seed))
    print(json.dumps({"count": arguments.count, "seed": arguments.seed, **result}, indent=2))
    sys.exit(0 if result["works_afterwards"] and not any(result["left_behind"].values()) else 1)


def stress(count: int, moments: random.Random) -> dict[str, Any]:
    """All of it, in a host that is started and ended here."""
    host = boot.boot()
    import slicer
    from Host import processes
    from Host.faults import collecting_observers

    slicer.app.settings().setValue("DinoUNetSlicer/EngineKind", "python")
    slicer.app.settings().setValue("DinoUNetSlicer/EngineCommand", sys.executable)
    before = temporary_files()
    widget = host.load_source("DinoUNetSlicer").open()
    from DinoUNetSlicerLib import segmenting

    widget.ui.inputVolumeSelector.setCurrentNode(make_volume())
    trials = Trials(host, widget, moments)
    engine = segmenting.shared_engine()
    with collecting_observers():
        for number in range(count):
            trials.run("cancel", widget.ui.segmentButton.click)
            if number % COLD_EVERY == COLD_EVERY - 1:
                engine.stop()
        for _ in range(count):
            trials.run("kill", lambda: engine._process.kill())
        widget.ui.segmentButton.click()
        host.wait_until(lambda: not widget.panel.run.running, 300, "the last segmentation")
    works = "Found" in widget.ui.statusLabel.text
    host.unload_modules()
    host.process_events(0.5)
    left = {
        "processes": processes.running(),
        "temporary_files": sorted(temporary_files() - before),
        "nodes": trials.left_nodes,
        "faults": host.faults.report().splitlines(),
    }
    return {**trials.summary(), "works_afterwards": works, "left_behind": left}


class Trials:
    """Starts segmentations and ends them; notes what was said, how long that took, and which nodes are new."""

    def __init__(self, host, widget, moments: random.Random):
        self._host, self._widget, self._moments = host, widget, moments
        self._seconds: dict[str, list[float]] = {}
        self._sentences: dict[str, dict[str, int]] = {}
        self._nodes = self._all_nodes()
        self.left_nodes: list[str] = []

    def run(self, kind: str, end) -> None:
        """Segment, and call `end` at a random moment."""
        ui, run = self._widget.ui, self._widget.panel.run
        ui.segmentButton.click()
        self._host.process_events(self._moments.uniform(0, LONGEST))
        if not run.running:
            raise RuntimeError(f"it was over before the {kind}: {ui.statusLabel.text}")
        end()
        started = time.monotonic()
        self._host.wait_until(lambda: not run.running, PATIENCE, f"the report of a {kind}")
        self._seconds.setdefault(kind, []).append(time.monotonic() - started)
        sentences = self._sentences.setdefault(kind, {})
        sentences[ui.statusLabel.text] = sentences.get(ui.statusLabel.text, 0) + 1
        self.left_nodes += sorted(self._all_nodes() - self._nodes - set(self.left_nodes))

    def summary(self) -> dict[str, Any]:
        """By kind: the slowest report in seconds, and how often each sentence was shown."""
        return {
            kind: {"slowest_seconds": round(max(seconds), 3), "sentences": self._sentences[kind]}
            for kind, seconds in self._seconds.items()
        }

    def _all_nodes(self) -> set[str]:
        scene = self._host.scene
        return {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}


def temporary_files() -> set[str]:
    """Names of what lies in the folder for temporary files."""
    return {name for name in os.listdir(tempfile.gettempdir()) if not name.startswith(TORCHS_OWN)}


def make_volume():
    """A volume node with the phantom, its slices repeated."""
    import numpy as np
    import SimpleITK as sitk
    import slicer

    from DinoUNetCore.dataset.phantom import make_phantom

    phantom = sitk.GetArrayFromImage(make_phantom(1000, size=(96, 96, 60))[0])
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "phantom")
    slicer.util.updateVolumeFromArray(node, np.repeat(phantom, SLICES // len(phantom), axis=0))
    node.SetSpacing(4, 4, 0.5)
    return node


if __name__ == "__main__":
    main()
