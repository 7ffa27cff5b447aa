"""Features of whole slices, or of a window of them, out of overlapping tiles blended with Gaussian weights.

Blended are the features before the network's head: the head is linear, so this equals blending the logits, and costs
the same for two classes and for two hundred.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from DinoUNetCore.inference.tiling import gaussian_weights, pad_to_patch, tiles_of

Window = tuple[slice, slice]
"""Rows and columns of a slice at the network's spacing."""


def tiles_over(size: Sequence[int], patch: Sequence[int], window: Window | None) -> list[tuple[slice, slice]]:
    """Those of a slice's tiles that touch the window: the others have no part in its features. None is all."""
    tiles = tiles_of(size, patch)
    if window is None:
        return tiles
    # A side shorter than the patch has one tile, which is longer than the side and touches every window.
    return [
        tile for tile in tiles if all(a.start < b.stop and b.start < a.stop for a, b in zip(tile, window, strict=True))
    ]


def blended_features(
    features: Callable[[Tensor], Tensor],
    slices: Tensor,
    patch: Sequence[int],
    tiles_at_once: int = 1,
    window: Window | None = None,
) -> Tensor:
    """Features of slices: (N, C, H, W) -> (N, F, H, W) float32. Outside the window they are not to be used.

    features: (B, C, *patch) -> (B, F, *patch). tiles_at_once: of each slice, in each call of it; the last tile is
    repeated to make so many. In the window the result is that of whole slices: tiles lie where they lie for them, and
    come together with the same ones; only calls without any tile in the window are left out.

    Slices smaller than the patch are padded to it by their borders, lying in the middle, as in training: a network with
    instance norms and relative positions answers differently to sizes that it does not know.
    """
    tiles, useful = tiles_of(slices.shape[2:], patch), tiles_over(slices.shape[2:], patch, window)
    groups = [tiles[first : first + tiles_at_once] for first in range(0, len(tiles), tiles_at_once)]
    groups = [group for group in groups if any(tile in useful for tile in group)]
    slices, rows, columns = pad_to_patch(slices, patch)
    if tuple(slices.shape[2:]) == tuple(patch):
        return features(slices).float()[:, :, rows, columns]
    return _blend(features, slices, groups, patch, min(tiles_at_once, len(tiles)))[:, :, rows, columns]


def _blend(
    features: Callable[[Tensor], Tensor],
    slices: Tensor,
    groups: Sequence[Sequence[tuple[slice, slice]]],
    patch: Sequence[int],
    tiles_at_once: int,
) -> Tensor:
    count, _, height, width = slices.shape
    weights = gaussian_weights(patch, slices.device)
    total = torch.zeros(height, width, device=slices.device)
    result = None
    for group in groups:
        filled_up = [*group, *[group[-1]] * (tiles_at_once - len(group))]
        found = features(torch.cat([slices[:, :, row, column] for row, column in filled_up]))
        if result is None:
            result = torch.zeros(count, found.shape[1], height, width, device=slices.device)
        for (row, column), part in zip(group, found.split(count), strict=False):
            result[:, :, row, column] += part.float() * weights
            total[row, column] += weights
    total[total == 0] = 1  # outside the window
    return result.div_(total)
