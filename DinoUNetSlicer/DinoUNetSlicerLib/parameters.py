"""The panel's choices, kept in the scene: they are saved and loaded with it."""

from slicer import vtkMRMLMarkupsROINode, vtkMRMLSegmentationNode, vtkMRMLVolumeNode
from slicer.parameterNodeWrapper import parameterNodeWrapper

EXTRA_CHANNEL_ROLE = "DinoUNetChannel{}"
"""Node references of the parameter node: the volumes of a model's second channel (1), third channel (2), ..."""


@parameterNodeWrapper
class Parameters:
    """modelName: a model of `models.list_models`. inputVolume: its first channel. outputSegmentation: None makes a new
    one. The rest: see `options.Options`."""

    modelName: str = "phantom-tiny"
    inputVolume: vtkMRMLVolumeNode
    roi: vtkMRMLMarkupsROINode
    outputSegmentation: vtkMRMLSegmentationNode
    device: str = "auto"
    precision: str = "auto"
    mirror: bool = False
    keepLargest: bool = False
    batchSize: int = 0
    threads: int = 0
