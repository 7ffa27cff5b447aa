"""Sample data: a phantom CT that the engine draws. Nothing is downloaded, and no patient is in it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk

from DinoUNetSlicerLib.engine import Engine, Event
from DinoUNetSlicerLib.engine_command import EngineCommand
from DinoUNetSlicerLib.errors import UserError, error_of

SEED = 1000  # the embedded model has not seen it
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def load_sample(
    engine: Engine, command: EngineCommand, on_done: Callable[[Any], None], on_error: Callable[[UserError], None]
) -> int:
    """Ask the engine for the phantom; on_done gets the new volume node. Returns the request's id."""
    facts: Event = {}
    voxels = bytearray()

    def on_event(event: Event, data: bytes) -> None:
        nonlocal facts
        if event.get("event") == "error":
            on_error(error_of(event))
        elif event.get("event") == "result":
            facts = event
        elif event.get("event") == "data":
            voxels.extend(data)
            if len(voxels) >= facts["total_bytes"]:
                try:
                    node = _make_node(facts, voxels)
                except Exception as error:  # out of an event it would only be printed, and who waits would wait on
                    on_error(UserError(f"the sample could not be put into the scene ({error})."))
                else:
                    on_done(node)

    return engine.request(command, {"request": "sample", "seed": SEED}, on_event)


def _make_node(facts: Event, voxels: bytearray) -> Any:
    array = np.frombuffer(voxels, np.dtype(facts["dtype"])).reshape(facts["size"][::-1])
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(facts["direction"]).reshape(3, 3) * np.array(facts["spacing"])
    matrix[:3, 3] = facts["origin"]
    matrix = _LPS_TO_RAS @ matrix
    image_to_ras = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            image_to_ras.SetElement(row, column, matrix[row, column])
    node = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLScalarVolumeNode", slicer.mrmlScene.GenerateUniqueName(facts["name"])
    )
    node.SetIJKToRASMatrix(image_to_ras)
    slicer.util.updateVolumeFromArray(node, array)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(420, 50)  # soft tissue
    return node
