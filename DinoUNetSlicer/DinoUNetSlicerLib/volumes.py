"""Volume nodes as the engine takes them: voxels, and where they lie.

Arrays are KJI (KJIC with components), as slicer.util.arrayFromVolume gives them. Slicer's coordinates are RAS, the
engine's are LPS; lengths are mm. A volume's own geometry, without its parent transform, is what the model sees and what
the segmentation gets; it is then put under the same transform.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

from DinoUNetSlicerLib.errors import UserError

PIECE = 1 << 20  # bytes of voxels in one frame
ORTHOGONAL_TOLERANCE = 1e-3  # cosine between two axes, as in the core

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_HARDEN = "harden its transform first (Data module, right click on the transform, Harden)"


@dataclass(frozen=True)
class Channel:
    """One image for the engine. description: its entry in a segment request; array: its voxels, contiguous."""

    description: dict[str, Any]
    array: np.ndarray

    @property
    def components(self) -> int:
        """Values per voxel, each a channel of the model."""
        return self.description["components"]


def channels_of(nodes: list) -> list[Channel]:
    """The nodes as the images of one request; the first one's grid is the segmentation's.

    UserErrors name the node: no voxels, sheared axes, voxels of an unusable type, a transform that is not linear.
    """
    first = nodes[0]
    return [_channel(node, None if node is first else _transform_to(first, node)) for node in nodes]


def without_alpha(channel: Channel) -> Channel:
    """A colour picture with transparency as one without; others as they are. For models that take three colours."""
    if channel.components != 4:
        return channel
    return Channel({**channel.description, "components": 3}, np.ascontiguousarray(channel.array[..., :3]))


def pieces(channels: list[Channel]) -> Iterator[bytes]:
    """All voxels, one image after the other, in pieces of at most 1 MiB."""
    for channel in channels:
        voxels = memoryview(channel.array.reshape(-1)).cast("B")
        for start in range(0, len(voxels), PIECE):
            yield bytes(voxels[start : start + PIECE])


def image_to_ras(node) -> np.ndarray:
    """4 x 4: voxel indices (i, j, k, 1) to RAS mm, without the node's parent transform."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return array_of(matrix)


def transform_to_world(node) -> np.ndarray:
    """4 x 4: the node's RAS to the world's. UserError where a parent transform is not linear."""
    parent = node.GetParentTransformNode()
    matrix = vtk.vtkMatrix4x4()
    if parent is not None:
        if not parent.IsTransformToWorldLinear():
            raise UserError(f"{node.GetName()} lies under a transform that is not linear; {_HARDEN}.")
        parent.GetMatrixTransformToWorld(matrix)
    return array_of(matrix)


def array_of(matrix) -> np.ndarray:
    """A vtkMatrix4x4 as an array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def _channel(node, transform: np.ndarray | None) -> Channel:
    name = node.GetName()
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or 0 in image.GetDimensions():
        raise UserError(f"{name} has no voxels; choose another volume.")
    array = _plain(slicer.util.arrayFromVolume(node), name)
    size = [int(count) for count in image.GetDimensions()]
    components = array.size // int(np.prod(size))
    matrix = _RAS_TO_LPS @ image_to_ras(node)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    direction = matrix[:3, :3] / spacing
    if not np.abs(direction.T @ direction - np.eye(3)).max() <= ORTHOGONAL_TOLERANCE:
        raise UserError(
            f"{name} has sheared axes (not at right angles to each other); resample it to an orthogonal grid first, "
            "for example with the module Resample Scalar Volume."
        )
    description = {
        "name": name[:200],
        "dtype": array.dtype.str,
        "components": components,
        "size": size,
        "spacing": spacing.tolist(),
        "origin": matrix[:3, 3].tolist(),
        "direction": direction.ravel().tolist(),
        "transform": None if transform is None else transform.ravel().tolist(),
    }
    return Channel(description, array)


def _plain(array: np.ndarray, name: str) -> np.ndarray:
    """The voxels contiguous and of a type that the protocol knows; usually the very array."""
    if array.dtype == bool:
        array = array.view(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize not in (1, 2, 4, 8):
        raise UserError(f"{name} has voxels of the type {array.dtype}; convert it to whole or real numbers first.")
    return np.ascontiguousarray(array)


def _transform_to(first, node) -> np.ndarray | None:
    """4 x 4 in LPS: from the node's space to the first node's; None where both lie under the same transform."""
    if node.GetTransformNodeID() == first.GetTransformNodeID():
        return None
    ras = np.linalg.inv(transform_to_world(first)) @ transform_to_world(node)
    return _RAS_TO_LPS @ ras @ _RAS_TO_LPS
