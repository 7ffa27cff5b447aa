"""Overlapping tiles over slices that are larger than the patch a network was trained on, blended with Gaussian weights.

Blended are the features before the network's head: the head is linear, so this equals blending the logits, and costs
the same for two classes and for two hundred.
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
        torch.exp(-0.5 * ((torch.arange(length, dtype=torch.float32) - length // 2) / (SIGMA * length)) ** 2)
        for length in size
    )
    return (PEAK * torch.outer(rows, columns)).to(device)


def blended_features(
    features: Callable[[Tensor], Tensor], slices: Tensor, patch: Sequence[int], tiles_at_once: int = 1
) -> Tensor:
    """Features of whole slices: (N, C, H, W) -> (N, F, H, W) float32.

    features: (B, C, *patch) -> (B, F, *patch). tiles_at_once: of each slice, in one call of it.

    Slices smaller than the patch are padded to it by their borders, lying in the middle, as in training: a network with
    instance norms and relative positions answers differently to sizes that it does not know.
    """
    slices, rows, columns = pad_to_patch(slices, patch)
    return _blend(features, slices, patch, tiles_at_once)[:, :, rows, columns]


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


def _blend(
    features: Callable[[Tensor], Tensor], slices: Tensor, patch: Sequence[int], tiles_at_once: int
) -> Tensor:
    count, _, height, width = slices.shape
    tiles = tiles_of((height, width), patch)
    if len(tiles) == 1:
        return features(slices).float()
    rows, columns = tiles[0]
    weights = gaussian_weights((rows.stop, columns.stop), slices.device)
    total = torch.zeros(height, width, device=slices.device)
    result = None
    for first in range(0, len(tiles), tiles_at_once):
        group = tiles[first : first + tiles_at_once]
        found = features(torch.cat([slices[:, :, row, column] for row, column in group]))
        if result is None:
            result = torch.zeros(count, found.shape[1], height, width, device=slices.device)
        for (row, column), part in zip(group, found.split(count), strict=True):
            result[:, :, row, column] += part.float() * weights
            total[row, column] += weights
    return result.div_(total)


def mirrored_features(features: Callable[[Tensor], Tensor], tiles: Tensor, axes: Sequence[int]) -> Tensor:
    """The mean of the features of (B, C, h, w) and of all its mirror images over `axes` (2: rows, 3: columns)."""
    flips: list[list[int]] = [[]]
    for axis in axes:
        flips += [[*flip, axis] for flip in flips]
    result = features(tiles).float()
    for flip in flips[1:]:
        result = result + features(tiles.flip(flip)).float().flip(flip)
    return result / len(flips) if axes else result
