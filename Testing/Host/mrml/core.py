"""The scene, the application's logic and the modules' logics, all real."""

from pathlib import Path

import slicer
import vtk

_LOGICS = {
    "Colors": "vtkMRMLColorLogic",
    "Units": "vtkSlicerUnitsLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Models": "vtkSlicerModelsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
}
"""The modules that the scene needs, and the classes of their logics."""


class Core:
    """`scene`, `application_logic`, and `logics` by module name. temporary: the folder for temporary files."""

    def __init__(self, temporary: Path):
        self.scene = slicer.vtkMRMLScene()
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)
        logic = self.application_logic = slicer.vtkSlicerApplicationLogic()
        logic.SetMRMLScene(self.scene)
        logic.SetTemporaryPath(str(temporary))
        logic.SetSliceLogics(vtk.vtkCollection())
        logic.SetViewLogics(vtk.vtkCollection())
        for factory in ("ThreeDView", "SliceView"):
            kind = getattr(slicer, f"vtkMRML{factory}DisplayableManagerFactory")
            kind.GetInstance().SetMRMLApplicationLogic(logic)
        self.logics = {name: self._module_logic(name, kind) for name, kind in _LOGICS.items()}
        logic.GetColorLogic().SetMRMLScene(self.scene)
        logic.GetColorLogic().AddDefaultColorNodes()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        self._remote_files = _set_up_remote_files(self.scene, temporary / "cache")
        _keep_subject_hierarchy(self.scene)

    def _module_logic(self, name: str, kind: str):
        logic = getattr(slicer, kind)()
        logic.SetMRMLScene(self.scene)
        logic.SetMRMLApplicationLogic(self.application_logic)
        self.application_logic.SetModuleLogic(name, logic)
        return logic


def _set_up_remote_files(scene, cache: Path):
    """What reading a bundle of a scene needs: a cache for remote files, and who fills it."""
    cache.mkdir(parents=True, exist_ok=True)
    logic = slicer.vtkMRMLRemoteIOLogic()
    logic.SetMRMLScene(scene)
    logic.AddDataIOToScene()
    scene.GetCacheManager().SetRemoteCacheDirectory(str(cache))
    return logic


def _keep_subject_hierarchy(scene) -> None:
    """Give every new data node an item in the subject hierarchy and take it away again: in Slicer, Qt's part does."""

    def added(caller, event, node):
        wanted = node.IsA("vtkMRMLDisplayableNode") and not node.GetHideFromEditors()
        if wanted and not scene.IsImporting():
            hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
            if not hierarchy.GetItemByDataNode(node):
                hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    def removed(caller, event, node):
        hierarchy = scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
        item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
        if item:
            hierarchy.RemoveItem(item, False, False)

    added.CallDataType = removed.CallDataType = vtk.VTK_OBJECT
    scene.AddObserver(scene.NodeAddedEvent, added)
    scene.AddObserver(scene.NodeAboutToBeRemovedEvent, removed)
