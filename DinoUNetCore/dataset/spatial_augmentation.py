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

    image: (n, C, H, W). label: (n, H, W) integers. matrix: (n, 2, 2), from a pixel's offset (row, column) from
    the centre of the patch, which lies as `crop_centre` has it, to the offset at which it is looked up in the window.
    Returns (n, C, *size) float32 and (n, *size) int64.
    """
    rows, columns = (torch.arange(side, device=image.device) - (side - 1) / 2 for side in size)
    places = []
    for axis, (window, side) in enumerate(zip(image.shape[2:], size, strict=True)):
        # as grid_sample counts: from -1 to 1, edge to edge
        centre = (2 * (window // 2 - side // 2) + side) / window - 1
        # not as a matrix product, which GPUs may round to ten bits
        along, across = (matrix[:, axis, part, None, None] * (2 / window) for part in range(2))
        place = (along * rows[:, None] + centre) + across * columns
        # Apple's GPUs know no padding mode "border"; with places inside it is not needed
        places.append(place.clamp_(1 / window - 1, 1 - 1 / window))
    grid = torch.stack(places[::-1], dim=-1)
    image = F.grid_sample(image.float(), grid, mode="bilinear", align_corners=False)
    classes = F.grid_sample(label[:, None].float(), grid, mode="nearest", align_corners=False)
    return image, classes[:, 0].to(torch.int64)
