"""A result for a segmentation whose surfaces are shown, in the host that stands in for Slicer: prints JSON.

Ten organs in 512 x 512 x 300 voxels replace ten that are shown in space. Compared are surfaces that are made at once
and such that are made by and by: how long the event loop stands still at most, and how long until all are there.
"""

import json
import platform
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from Host import boot

SIZE = (300, 512, 512)  # K, J, I
BLOCKED_AT_MOST = 3.0  # seconds


def main() -> None:
    host = boot.boot()
    import slicer
    from Host.event_loop import Blocking

    host.load_source("DinoUNetSlicer")
    from DinoUNetSlicerLib import segmentations, surfaces

    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "large")
    slicer.util.updateVolumeFromArray(volume, _organs(0).astype("int16"))
    measured = {}
    for name, make in (("at_once", surfaces.make), ("by_and_by", surfaces.make_by_and_by)):
        node = segmentations.new_segmentation(name)
        segmentations.fill(node, volume, _result(_organs(0)))
        node.CreateClosedSurfaceRepresentation()
        result = _result(_organs(6))
        started = time.monotonic()
        with Blocking() as blocking:
            slicer.app.processEvents()
            segmentations.fill(node, volume, result, make)
            host.wait_until(lambda node=node: surfaces.are_shown(node), 120, "the surfaces")
        measured[name] = {
            "longest_block_seconds": round(blocking.longest, 2),
            "all_there_after_seconds": round(time.monotonic() - started, 2),
        }
        slicer.mrmlScene.RemoveNode(node)
    result = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "voxels": SIZE,
        "organs": 10,
        **measured,
        "within_limits": measured["by_and_by"]["longest_block_seconds"] <= BLOCKED_AT_MOST,
    }
    host.unload_modules()
    print(json.dumps(result, indent=2))


def _organs(shift: int):
    """(K, J, I) uint8: ten ellipsoids of a liver's size."""
    import numpy as np

    k, j, i = np.ogrid[: SIZE[0], : SIZE[1], : SIZE[2]]
    labels = np.zeros(SIZE, np.uint8)
    for number in range(10):
        row, column = divmod(number, 5)
        centre = (150, 130 + 250 * row, 60 + 95 * column + shift)
        distance = ((k - centre[0]) / 110) ** 2 + ((j - centre[1]) / 100) ** 2 + ((i - centre[2]) / 40) ** 2
        labels[distance < 1] = number + 1
    return labels


def _result(labels):
    from DinoUNetCore.volume.labels import default_labels
    from DinoUNetSlicerLib.segmentations import Result

    structures = default_labels({"background": 0, **{f"organ {n}": n for n in range(1, 11)}})
    found = {str(n): int((labels == n).sum()) for n in range(1, 11)}
    region = [[0, count] for count in reversed(labels.shape)]
    return Result(labels, region, {"labels": [label.to_json() for label in structures], "found": found})


if __name__ == "__main__":
    main()
