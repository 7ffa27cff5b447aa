"""Surfaces of segments that are shown: taken away while segments are exchanged, and made again.

Slicer would make those of new segments while they are added, in the thread of the user interface: half a second for a
large organ. Here each is made in a turn of the event loop of its own, so that Slicer stays usable in between.
"""

from collections.abc import Sequence
from typing import Any

import qt
import slicer
import vtk

BINARY_LABELMAP, CLOSED_SURFACE = "Binary labelmap", "Closed surface"  # Slicer's names of representations
PAUSE_MS = 20  # between two surfaces, for what the user does


def are_shown(node) -> bool:
    """Whether the segmentation has surfaces, of all its segments, and shows them."""
    return node.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE) and _would_show(node)


def _would_show(node) -> bool:
    display = node.GetDisplayNode()
    return display is not None and bool(display.GetVisibility() and display.GetVisibility3D())


def take_away(node) -> dict[str, Any]:
    """Remove all surfaces; returns them by segment, as `put_back` takes them."""
    segmentation = node.GetSegmentation()
    surfaces = {}
    for identity in segmentation.GetSegmentIDs():
        surface = segmentation.GetSegment(identity).GetRepresentation(CLOSED_SURFACE)
        if surface is not None:
            surfaces[identity] = surface
    segmentation.RemoveRepresentation(CLOSED_SURFACE)
    return surfaces


def put_back(node, surfaces: dict[str, Any]) -> None:
    """Give segments the surfaces that they had; those that are gone are left out."""
    for identity, surface in surfaces.items():
        segment = node.GetSegmentation().GetSegment(identity)
        if segment is not None:
            segment.AddRepresentation(CLOSED_SURFACE, surface)
    _tell(node.GetSegmentation())


def make(node) -> None:
    """Make the surfaces that are missing, now."""
    for identity in _missing(node):
        _make_one(node, identity)


def make_by_and_by(node) -> None:
    """Make the surfaces that are missing, one in each turn of the event loop, as long as they are to be shown.

    Slicer shows the segmentation in space again when it has all of them.
    """

    def turn(made: str | None = None) -> None:
        if not slicer.mrmlScene.IsNodePresent(node) or not _would_show(node):
            return
        missing = _missing(node)
        if not missing or made in missing:  # the user has removed what was made
            return
        _make_one(node, missing[0])
        qt.QTimer.singleShot(PAUSE_MS, lambda: turn(missing[0]))

    qt.QTimer.singleShot(PAUSE_MS, turn)


def _missing(node) -> Sequence[str]:
    segmentation = node.GetSegmentation()
    return [
        identity
        for identity in segmentation.GetSegmentIDs()
        if segmentation.GetSegment(identity).GetRepresentation(CLOSED_SURFACE) is None
    ]


def _make_one(node, identity: str) -> None:
    """Make the surface of one segment as Slicer would: a segmentation of this segment alone is converted."""
    segmentation = node.GetSegmentation()
    segment, alone = segmentation.GetSegment(identity), slicer.vtkSegment()
    alone.AddRepresentation(BINARY_LABELMAP, segment.GetRepresentation(BINARY_LABELMAP))  # the same image, not a copy
    alone.SetLabelValue(segment.GetLabelValue())
    converted = slicer.vtkSegmentation()
    converted.SetSourceRepresentationName(BINARY_LABELMAP)
    converted.CopyConversionParameters(segmentation)
    converted.AddSegment(alone, identity)
    converted.CreateRepresentation(CLOSED_SURFACE)
    surface = alone.GetRepresentation(CLOSED_SURFACE)
    segment.AddRepresentation(CLOSED_SURFACE, surface if surface is not None else vtk.vtkPolyData())
    _tell(segmentation)


def _tell(segmentation) -> None:
    """Let views and buttons know."""
    segmentation.InvokeEvent(segmentation.ContainedRepresentationNamesModified)
