"""The module's self-test inside Slicer: draws the phantom, segments it, and looks at what came out."""

import numpy as np
import slicer

from DinoUNetSlicerLib import segmenting
from DinoUNetSlicerLib.dependencies import unmet
from DinoUNetSlicerLib.engine_command import SLICER_PYTHON, load_choice, make_command
from DinoUNetSlicerLib.errors import UserError
from DinoUNetSlicerLib.sample import load_sample
from DinoUNetSlicerLib.segmentations import segments_by_name

MODEL = "phantom-tiny"
LIVER_ML = (500, 3000)  # the phantom's liver lies well within


def run_self_test(test) -> None:
    """test: the DinoUNetSlicerTest, for its messages. AssertionError or UserError where something is wrong."""
    import DinoUNetSlicer

    if load_choice()[0] == SLICER_PYTHON and (lacking := unmet()):
        sentence = f"Not tested: Slicer's Python lacks {', '.join(lacking)}; install them in the panel."
        test.delayDisplay(sentence)
        if test.in_suite:  # Reload and Test would show it as a failure
            test.skipTest(sentence)
        return
    test.delayDisplay("Drawing a phantom CT")
    volume = sample_volume()
    test.delayDisplay("Segmenting it")
    logic = DinoUNetSlicer.DinoUNetSlicerLogic()
    node = logic.segment(volume, model=MODEL)

    names = segments_by_name(node.GetSegmentation())
    assert {"liver", "spleen", "kidney_left", "kidney_right"} <= set(names), f"segments found: {sorted(names)}"
    liver = slicer.util.arrayFromSegmentBinaryLabelmap(node, names["liver"], volume)
    millilitres = np.count_nonzero(liver) * float(np.prod(volume.GetSpacing())) / 1000
    assert LIVER_ML[0] < millilitres < LIVER_ML[1], f"the liver has {millilitres:.0f} ml"
    left, right = (_centre(node, names[f"kidney_{side}"]) for side in ("left", "right"))
    assert left[0] < right[0], "left and right are swapped: in RAS the patient's left has the smaller x"
    test.delayDisplay("Test passed")


def sample_volume():
    """The phantom CT as a new volume node."""
    ended = []
    load_sample(segmenting.shared_engine(), make_command(*load_choice()), ended.append, ended.append)
    segmenting.wait_until(lambda: bool(ended))
    if isinstance(ended[0], UserError):
        raise ended[0]
    return ended[0]


def _centre(node, segment_id: str):
    return node.GetSegmentCenterRAS(segment_id)
