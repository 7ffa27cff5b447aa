"""slicer.app.coreIOManager(): files through the real storage nodes, for slicer.util's load*, save* and export*."""

# ruff: noqa: N801, N802, N803  # the names are those of Slicer, CTK or Qt

from pathlib import Path

import slicer
import vtk
from PySide6 import QtCore

from Host.widgets.registry import stands_in

_FILES = {
    "SegmentationFile": ("vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode", (".seg.nrrd", ".seg.nhdr")),
    "VolumeFile": (
        "vtkMRMLScalarVolumeNode",
        "vtkMRMLVolumeArchetypeStorageNode",
        (".nrrd", ".nhdr", ".nii.gz", ".nii", ".mha", ".mhd", ".png", ".jpg", ".tif", ".tiff", ".dcm"),
    ),
    "TransformFile": ("vtkMRMLLinearTransformNode", "vtkMRMLTransformStorageNode", (".h5", ".tfm")),
    "ModelFile": ("vtkMRMLModelNode", "vtkMRMLModelStorageNode", (".vtk", ".vtp", ".stl", ".ply", ".obj")),
    "ColorTableFile": ("vtkMRMLColorTableNode", "vtkMRMLColorTableStorageNode", (".ctbl", ".txt", ".csv")),
    "MarkupsFile": ("vtkMRMLMarkupsROINode", "vtkMRMLMarkupsJsonStorageNode", (".mrk.json",)),
}
_SCENES = (".mrb", ".mrml")
_COLOR_VOLUMES = (".png", ".jpg", ".tif", ".tiff")


@stands_in
class qSlicerCoreIOManager(QtCore.QObject):
    """Types of files by their endings, and reading and writing through storage nodes."""

    def fileType(self, path: str) -> str:
        """The type of a file by its ending; "NoFile" for an unknown one."""
        ending = self.extractKnownExtension(path, None)
        if ending in _SCENES:
            return "SceneFile"
        return next((kind for kind, (_, _, endings) in _FILES.items() if ending in endings), "NoFile")

    def extractKnownExtension(self, path: str, node) -> str:
        """The longest known ending of a file name."""
        known = [ending for _, _, endings in _FILES.values() for ending in endings] + list(_SCENES)
        return max((ending for ending in known if path.lower().endswith(ending)), key=len, default="")

    def fileWriterFileType(self, node) -> str:
        """The type of file that a node is written to."""
        return next((kind for kind, (name, _, _) in _FILES.items() if node.IsA(name)), "NoFile")

    def fileWriterExtensions(self, node) -> list[str]:
        """The formats that a node can be written to, as "Name (*.ending)"."""
        kind = self.fileWriterFileType(node)
        return [f"{kind} (*{ending})" for ending in _FILES.get(kind, ("", "", ()))[2]]

    def loadNodes(self, fileType: str, properties: dict, nodes: vtk.vtkCollection | None = None, messages=None) -> bool:
        """Read a file into the scene. properties: fileName, name, labelmap, singleFile, show; clear for scenes."""
        path = Path(properties["fileName"])
        if fileType == "SceneFile":
            return _load_scene(path, properties.get("clear", False))
        if fileType not in _FILES or not path.exists():
            if messages is not None:
                messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"cannot read {path}")
            return False
        kind, storage_kind, _ = _FILES[fileType]
        ending = self.extractKnownExtension(str(path), None)
        if fileType == "VolumeFile":
            kind = _volume_kind(path, ending, properties)
        storage = slicer.mrmlScene.AddNewNodeByClass(storage_kind)
        storage.SetFileName(str(path))
        if fileType == "VolumeFile":
            storage.SetSingleFile(int(bool(properties.get("singleFile", ending != ".dcm"))))
        name = properties.get("name") or path.name[: len(path.name) - len(ending)]
        node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
        if not storage.ReadData(node):
            slicer.mrmlScene.RemoveNode(node)
            slicer.mrmlScene.RemoveNode(storage)
            return False
        node.SetAndObserveStorageNodeID(storage.GetID())
        node.CreateDefaultDisplayNodes()
        if nodes is not None:
            nodes.AddItem(node)
        return True

    def saveNodes(self, fileType: str, properties: dict, messages=None) -> bool:
        """Write a node (properties: nodeID, fileName) or, as a "SceneFile", the scene."""
        path = Path(properties["fileName"])
        if fileType == "SceneFile":
            return _save_scene(path)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        storage.SetFileName(str(path))
        storage.SetUseCompression(int(properties.get("useCompression", True)))
        return bool(storage.WriteData(node))

    def exportNodes(self, nodeIDs, paths, properties: dict, hardenTransforms: bool, messages=None) -> bool:
        """Write copies of nodes, without touching their storage nodes; hardened: in world coordinates."""
        nodes = [slicer.mrmlScene.GetNodeByID(identity) for identity in nodeIDs]
        done = [_export(node, str(path), hardenTransforms) for node, path in zip(nodes, paths, strict=True)]
        return all(done)


def _volume_kind(path: Path, ending: str, properties: dict) -> str:
    if properties.get("labelmap"):
        return "vtkMRMLLabelMapVolumeNode"
    colors = ending in _COLOR_VOLUMES and _components(path) > 1
    return "vtkMRMLVectorVolumeNode" if colors else "vtkMRMLScalarVolumeNode"


def _components(path: Path) -> int:
    reader = vtk.vtkImageReader2Factory.CreateImageReader2(str(path))
    reader.SetFileName(str(path))
    reader.UpdateInformation()
    return reader.GetNumberOfScalarComponents()


def _export(node, path: str, hardened: bool) -> bool:
    copy = slicer.mrmlScene.AddNewNodeByClass(node.GetClassName())
    try:
        copy.CopyContent(node)
        copy.SetName(node.GetName())
        if hardened:
            copy.SetAndObserveTransformNodeID(node.GetTransformNodeID())
            copy.HardenTransform()
        storage = copy.CreateDefaultStorageNode()
        storage.UnRegister(None)  # the variable holds it
        storage.SetFileName(path)
        return bool(storage.WriteData(copy))
    finally:
        slicer.mrmlScene.RemoveNode(copy)


def _save_scene(path: Path) -> bool:
    scene = slicer.mrmlScene
    if path.suffix == ".mrb":
        return bool(scene.WriteToMRB(str(path)))
    if path.suffix == ".mrml":
        scene.SetRootDirectory(str(path.parent))
        scene.SetURL(str(path))
        return bool(scene.Commit())
    path.mkdir(parents=True, exist_ok=True)
    return bool(scene.SaveSceneToSlicerDataBundleDirectory(str(path)))


def _load_scene(path: Path, clear: bool) -> bool:
    scene = slicer.mrmlScene
    if path.suffix == ".mrb":
        return bool(scene.ReadFromMRB(str(path), clear))
    scene.SetURL(str(path))
    return bool(scene.Connect() if clear else scene.Import())
