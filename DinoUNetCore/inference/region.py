"""A part of a volume that is to be segmented, and what of its slices a network has to see for it.

Its labels are those of the whole volume, but where only the largest pieces are kept: those are the largest in the part.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.geometry import Slicing
from DinoUNetCore.volume.volume import Grid

Region = Sequence[Sequence[int]]
"""[[i0, i1], [j0, j1], [k0, k1]]: voxels i0 to i1 - 1 along I, and so on."""


@dataclass(frozen=True)
class Part:
    """A box of canonical slices: which slices, and which rows and columns of each."""

    slices: slice
    rows: slice
    columns: slice

    @classmethod
    def of(cls, region: Region | None, grid: Grid, slicing: Slicing) -> "Part":
        """Where a region of the grid lies in its slices; None is the whole grid. UserError if it is no box in it."""
        ranges = [(0, count) for count in grid.size] if region is None else [tuple(pair) for pair in region]
        if len(ranges) != 3 or not all(0 <= a < b <= n for (a, b), n in zip(ranges, grid.size, strict=True)):
            size = " x ".join(map(str, grid.size))
            raise UserError(f"the region {ranges} is no box of an image of {size} voxels; give one that lies in it.")
        along = []
        for axis, flipped in zip(slicing.permutation, slicing.flips, strict=True):
            (start, stop), count = ranges[2 - axis], grid.size[2 - axis]
            along.append(slice(count - stop, count - start) if flipped else slice(start, stop))
        return cls(*along)

    def window(self, size: Sequence[int], seen: Sequence[int]) -> tuple[slice, slice]:
        """The pixels that its rows and columns are made from, of slices of `size` that a network sees as `seen`."""
        rows, columns = (
            _window(part, native, network)
            for part, native, network in zip((self.rows, self.columns), size, seen, strict=True)
        )
        return rows, columns


def region_shape(region: Region | None, grid: Grid) -> tuple[int, int, int]:
    """Voxels along K, J, I."""
    return grid.size[::-1] if region is None else tuple(stop - start for start, stop in region)[::-1]


def region_slices(region: Region) -> tuple[slice, slice, slice]:
    """Where the region lies in an array KJI."""
    k, j, i = (slice(start, stop) for start, stop in region[::-1])
    return k, j, i


def _window(part: slice, native: int, network: int) -> slice:
    scale = network / native
    reach = max(1.0, scale)  # of a linear filter, which widens where the image shrinks
    start = math.floor((part.start + 0.5) * scale - 0.5 - reach)
    stop = math.ceil((part.stop - 0.5) * scale - 0.5 + reach) + 1
    return slice(max(0, start), min(network, stop))
