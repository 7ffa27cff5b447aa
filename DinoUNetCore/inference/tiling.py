"""Overlapping tiles over slices that are larger than the patch a network was trained on: where they lie, how much each
counts, and what mirror images add.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

STEP = 0.5  # distance between tiles at most, as part of their size
PEAK = 10.0  # of the weights; their scale cancels
SIGMA = 1 / 8  # of the weights, as part of the tile's size


def tile_starts(length: int, tile: int) -> list[int]:
    """First pixels of tiles that cover `length` pixels evenly, at most half a tile apart."""
    if length <= tile:
        return [0]
    last = length - tile
    steps = math.ceil(last / (STEP * tile))
    return [round(last * number / steps) for number in range(steps + 1)]


def tiles_of(size: Sequence[int], patch: Sequence[int]) -> list[tuple[slice, slice]]:
    """(rows, columns) of the tiles of one slice; a slice smaller than the patch is padded to it first, as one tile."""
    rows, columns = (
        [slice(start, start + tile) for start in tile_starts(length, tile)]
        for length, tile in zip(size, patch, strict=True)
    )
    return [(row, column) for row in rows for column in columns]


def gaussian_weights(size: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """(rows, columns) float32: a Gaussian around the middle of a tile, which is trusted more than its borders."""
    rows, columns = (
        torch.exp(-0.5 * ((_places(length, device) - length // 2) / (SIGMA * length)) ** 2)
        for length in size
    )
    return PEAK * torch.outer(rows, columns)


def _places(length: int, device: torch.device | str) -> Tensor:
    return torch.arange(length, dtype=torch.float32, device=device)


def pad_to_patch(slices: Tensor, patch: Sequence[int]) -> tuple[Tensor, slice, slice]:
    """(N, C, H, W) padded to at least `patch`, and where the rows and columns of the slices then lie."""
    before = [max(0, side // 2 - length // 2) for length, side in zip(slices.shape[2:], patch, strict=True)]
    after = [
        max(0, side - length - start) for length, side, start in zip(slices.shape[2:], patch, before, strict=True)
    ]
    rows, columns = (slice(start, start + length) for start, length in zip(before, slices.shape[2:], strict=True))
    if any(before + after):
        slices = F.pad(slices, (before[1], after[1], before[0], after[0]), mode="replicate")
    return slices, rows, columns


def mirrored_features(features: Callable[[Tensor], Tensor], tiles: Tensor, axes: Sequence[int]) -> Tensor:
    """The mean of the features of (B, C, h, w) and of all its mirror images over `axes` (2: rows, 3: columns)."""
    flips: list[list[int]] = [[]]
    for axis in axes:
        flips += [[*flip, axis] for flip in flips]
    result = features(tiles).float()
    for flip in flips[1:]:
        result = result + features(tiles.flip(flip)).float().flip(flip)
    return result / len(flips) if axes else result
