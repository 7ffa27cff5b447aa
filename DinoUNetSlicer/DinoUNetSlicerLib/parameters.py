"""The panel's choices, kept in the scene: they are saved and loaded with it."""

from typing import Annotated, Union

from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLVectorVolumeNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

EXTRA_CHANNEL_ROLE = "DinoUNetChannel{}"
"""Node references of the parameter node: the volumes of a model's second channel (1), third channel (2), ..."""


@parameterNodeWrapper
class Parameters:
    """modelName: a model of `models.list_models`. inputVolume: its first channel. outputSegmentation: None makes a new
    one. fusePlanes: all planes of the model, or (as in fast mode) the first one only. keepLargest: False leaves it to
    the model's own rule. The rest: see `options.Options`."""

    modelName: str = "phantom-tiny"
    # The selector lists exactly these classes. The wrapper knows only typing's Union, and None only if it is named.
    inputVolume: Union[vtkMRMLScalarVolumeNode, vtkMRMLVectorVolumeNode, None]  # noqa: UP007
    roi: vtkMRMLMarkupsROINode
    outputSegmentation: vtkMRMLSegmentationNode
    device: str = "auto"
    precision: str = "auto"
    mirror: bool = False
    fast: bool = False
    fusePlanes: bool = True
    keepLargest: bool = False
    batchSize: Annotated[int, WithinRange(0, 256)] = 0
    threads: Annotated[int, WithinRange(0, 256)] = 0
