"""From the engine's label map to a segmentation node: names, colours, terminology, and the right place.

All segments of one result share one label map inside the segmentation (a layer), so that many structures cost no more
memory than one, and nothing is computed per structure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from DinoUNetCore.inference.provenance import described
from DinoUNetCore.volume.labels import Label
from DinoUNetCore.volume.writing import terminology_entry
from DinoUNetSlicerLib import surfaces
from DinoUNetSlicerLib.errors import UserError
from DinoUNetSlicerLib.regions import Box, whole_box
from DinoUNetSlicerLib.surfaces import BINARY_LABELMAP


@dataclass(frozen=True)
class Result:
    """What the engine found. labels: (K, J, I) label values of the box `region` of the volume's voxels. facts: the
    fields of the engine's `result` event."""

    labels: np.ndarray
    region: Box
    facts: dict[str, Any]

    @property
    def structures(self) -> list[Label]:
        """All structures that the model knows, in its order."""
        return [Label.from_json(entry) for entry in self.facts["labels"]]

    @property
    def found(self) -> dict[int, int]:
        """{label value: voxels} of what was found."""
        return {int(value): count for value, count in self.facts["found"].items() if count}

    @property
    def provenance(self) -> dict[str, str]:
        """Which model made it, and how."""
        model = self.facts.get("model") or {}
        how = [self.facts.get(name) for name in ("device", "precision", "options")]
        return described(*(fact or "" for fact in (model.get("name"), model.get("sha256"), *how)))


def new_segmentation(name: str):
    """An empty segmentation node; `fill` puts it into its place."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", slicer.mrmlScene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    return node


def check_output(node, volume) -> None:
    """UserError for a segmentation that cannot take the volume's segments beside its own."""
    segmentation = node.GetSegmentation()
    if not segmentation.GetNumberOfSegments():
        return
    if node.GetTransformNodeID() != volume.GetTransformNodeID():
        raise UserError(
            f"{node.GetName()} lies under another transform than {volume.GetName()}; put both under the same one, or "
            "choose a new segmentation."
        )
    if segmentation.GetSourceRepresentationName() != BINARY_LABELMAP:
        raise UserError(
            f"{node.GetName()} is made of {segmentation.GetSourceRepresentationName().lower()}s, not of label maps; "
            "choose another segmentation for the result, or a new one."
        )


def fill(node, volume, result: Result, make_surfaces: Callable[[Any], None] = surfaces.make) -> None:
    """Put a result into a segmentation node.

    Segments with the names of the model's structures are replaced (outside the region they stay as they are), all
    others are left alone. The node gets the volume's grid as its reference, its transform and its subject.

    Surfaces that are shown follow: `make_surfaces` makes those of the new segments. Hidden ones are dropped; "Show 3D"
    makes them when they are wanted.
    """
    check_output(node, volume)
    segmentation = node.GetSegmentation()
    is_new = not segmentation.GetNumberOfSegments()
    shown = surfaces.are_shown(node)
    modified = node.StartModify()
    try:
        others = surfaces.take_away(node)  # or Slicer would make those of the new segments while they are added
        layers = _layers(node, volume, result)
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        replaced = _replace_segments(segmentation, volume, result, layers)
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        _note_origin(node, result)
        if shown:
            surfaces.put_back(node, {key: surface for key, surface in others.items() if key not in replaced})
    finally:
        node.EndModify(modified)
    if shown:
        make_surfaces(node)
    if is_new:  # one with segments lies where its user has put it
        _put_beside(node, volume)


def segments_by_name(segmentation) -> dict[str, str]:
    """{name: id} of the segments; of equal names the first."""
    names: dict[str, str] = {}
    for index in range(segmentation.GetNumberOfSegments()):
        identity = segmentation.GetNthSegmentID(index)
        names.setdefault(segmentation.GetSegment(identity).GetName(), identity)
    return names


Layer = tuple[Any, dict[int, int]]
"""A vtkOrientedImageData, and {the model's label value: the value in this image}."""


def _layers(node, volume, result: Result) -> list[Layer]:
    """The images to put in: one for all structures; one more for each whose old part outside the region overlaps."""
    stored = {label.value: number for number, label in enumerate(result.structures, start=1)}
    values = _renumbered(result.labels, stored)
    if result.region == whole_box(volume):
        return [(_image(volume, values, result.region), {v: stored[v] for v in result.found})]
    inside = tuple(slice(start, stop) for start, stop in reversed(result.region))  # KJI
    shape = tuple(count for _, count in reversed(whole_box(volume)))
    shared = np.zeros(shape, dtype=values.dtype)
    shared[inside] = values
    kept, apart = {v: stored[v] for v in result.found}, []
    for label in result.structures:
        old = _outside(node, volume, label.name, inside)
        if old is None:
            continue
        if shared[old].any():
            old[inside] = result.labels == label.value
            apart.append((_image(volume, old.view(np.uint8), whole_box(volume)), {label.value: 1}))
            kept.pop(label.value, None)
        else:
            shared[old] = stored[label.value]
            kept[label.value] = stored[label.value]
    return [(_image(volume, shared, whole_box(volume)), kept), *apart]


def _outside(node, volume, name: str, inside: tuple[slice, ...]) -> np.ndarray | None:
    """(K, J, I) bool: what a segment of that name holds outside the box; None if nothing."""
    identity = segments_by_name(node.GetSegmentation()).get(name)
    if identity is None:
        return None
    old = slicer.util.arrayFromSegmentBinaryLabelmap(node, identity, volume)
    if old is None:
        return None
    old = np.array(old != 0)
    old[inside] = False
    return old if old.any() else None


def _renumbered(labels: np.ndarray, numbers: dict[int, int]) -> np.ndarray:
    """Label values as 1, 2, ...: segmentations hold uint8 and int16 well, other types not."""
    dtype = np.uint8 if len(numbers) < 256 else np.int16
    if all(value == number for value, number in numbers.items()) and labels.dtype == dtype:
        return labels
    values = np.array(sorted(numbers))
    table = np.array([numbers[value] for value in values], dtype=dtype)
    result = np.zeros(labels.shape, dtype=dtype)
    for plane, into in zip(labels, result, strict=True):  # slice by slice: no large arrays of indices
        foreground = plane != 0
        into[foreground] = table[np.searchsorted(values, plane[foreground])]
    return result


def _image(volume, values: np.ndarray, region: Box):
    """A vtkOrientedImageData of the smallest box that holds all values other than 0, on the volume's grid."""
    starts = [0, 0, 0]
    occupied = _bounding_box(values)
    if occupied is not None:
        values = values[occupied]
        starts = [part.start for part in reversed(occupied)]
    extent = []
    for (start, _), offset, count in zip(region, starts, reversed(values.shape), strict=True):
        extent += [start + offset, start + offset + count - 1]
    image = vtk.vtkImageData()
    image.SetExtent(*extent)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(values).reshape(-1), deep=True))
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    oriented = slicer.vtkOrientedImageData()
    oriented.ShallowCopy(image)
    oriented.SetGeometryFromImageToWorldMatrix(matrix)
    return oriented


def _bounding_box(values: np.ndarray) -> tuple[slice, ...] | None:
    box = []
    for axis in range(3):
        used = np.flatnonzero(values.any(axis=tuple(other for other in range(3) if other != axis)))
        if not len(used):
            return None
        box.append(slice(int(used[0]), int(used[-1]) + 1))
    return tuple(box)


def _replace_segments(segmentation, volume, result: Result, layers: list[Layer]) -> set[str]:
    """Remove the old segments of the model's structures and put the new ones in their places, under their ids.

    Returns the ids of those that were removed.
    """
    removed = set()
    ids = segments_by_name(segmentation)
    images = {value: (image, number) for image, numbers in layers for value, number in numbers.items()}
    for label in result.structures:
        name = " ".join(label.name.split())
        identity = ids.get(name, "")
        following = _id_after(segmentation, identity) if identity else ""
        if identity:
            segmentation.RemoveSegment(identity)
            removed.add(identity)
        if label.value not in images:
            continue
        image, number = images[label.value]
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.SetColor(*(part / 255 for part in label.color))
        segment.SetNameAutoGenerated(False)
        segment.SetColorAutoGenerated(False)
        entry = terminology_entry(label)
        if entry:
            segment.SetTag(segment.GetTerminologyEntryTagName(), entry)
        segment.AddRepresentation(BINARY_LABELMAP, image)
        segment.SetLabelValue(number)
        segmentation.AddSegment(segment, identity, following)
    return removed


def _id_after(segmentation, identity: str) -> str:
    index = segmentation.GetSegmentIndex(identity) + 1
    return segmentation.GetNthSegmentID(index) if index < segmentation.GetNumberOfSegments() else ""


def _note_origin(node, result: Result) -> None:
    """The result's provenance, kept with the node in the scene."""
    node.RemoveAttribute("DinoUNet.Options")  # of an earlier result in this node
    for name, fact in result.provenance.items():
        node.SetAttribute(f"DinoUNet.{name}", fact)


def _put_beside(node, volume) -> None:
    """Under the volume's parent (study, patient or folder) in the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is None:
        return
    item, beside = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(volume)
    if item and beside:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(beside))
