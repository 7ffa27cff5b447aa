"""Where the pixels of augmented patches come from: cropping and mirroring move them, warping interpolates."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

MIRRORINGS = {(True, False): (-2,), (False, True): (-1,), (True, True): (-2, -1)}
"""Whether along (rows, columns) -> axes to flip."""


def crop_centre(array: Tensor, size: Sequence[int]) -> Tensor:
    """(..., H, W) -> (..., *size), a view: the patch whose window was cut around the same centre by `cut_patch`."""
    for axis, side in zip((-2, -1), size, strict=True):
        array = array.narrow(axis, array.shape[axis] // 2 - side // 2, side)
    return array


def warp(image: Tensor, label: Tensor, matrix: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Patches out of windows, in one interpolation: image bilinear, label nearest; beyond the border its pixels repeat.

    image: (n, C, H, W) float32. label: (n, H, W) integers. matrix: (n, 2, 2), from a pixel's offset (row, column) from
    the centre of the patch, which lies as `crop_centre` has it, to the offset at which it is looked up in the window.
    Returns (n, C, *size) float32 and (n, *size) int64.
    """
    offsets = [torch.arange(side, device=image.device) - (side - 1) / 2 for side in size]
    row_offsets, column_offsets = torch.meshgrid(*offsets, indexing="ij")
    places = []
    for axis, (window, side) in enumerate(zip(image.shape[2:], size, strict=True)):
        centre = window // 2 - side // 2 + (side - 1) / 2
        # not as a matrix product, which GPUs may round to ten bits
        along, across = matrix[:, axis, 0, None, None], matrix[:, axis, 1, None, None]
        place = along * row_offsets + across * column_offsets + centre
        # Apple's GPUs know no padding mode "border"; with places inside it is not needed
        place = place.clamp(0, window - 1)
        places.append((2 * place + 1) / window - 1)  # grid_sample counts from -1 to 1, edge to edge
    grid = torch.stack(places[::-1], dim=-1)
    image = F.grid_sample(image, grid, mode="bilinear", align_corners=False)
    classes = F.grid_sample(label[:, None].float(), grid, mode="nearest", align_corners=False)
    return image, classes[:, 0].to(torch.int64)
