"""Canonical slices: from any storage order to the radiologist's view, and the exact way back.

Slices are cut in anatomical orientation, never in storage order, so that the same body gives the same slices however
its file was written. Getting there is a permutation of axes and flips, nothing else: no voxel changes its value.

    plane      slices run     rows run        columns run
    axial      I to S         A to P          R to L
    coronal    A to P         S to I          R to L
    sagittal   R to L         S to I          A to P
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from DinoUNetCore.errors import UserError
from DinoUNetCore.volume.volume import Grid

PLANES = ("axial", "coronal", "sagittal")

UNITS = ("mm", "pixel")
"""What lengths count in. "pixel" is for pictures whose file stores a printer's resolution: a pixel is 1 x 1."""

# Anatomical axes are numbered as in LPS.
LEFT_RIGHT, ANTERIOR_POSTERIOR, SUPERIOR_INFERIOR = AXES = ("left-right", "anterior-posterior", "superior-inferior")

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

# For slices, rows and columns: the LPS axis, and +1 where the index grows with the coordinate (towards L, P, S).
_LAYOUT = {
    "axial": ((2, +1), (1, +1), (0, +1)),
    "coronal": ((1, +1), (2, -1), (0, +1)),
    "sagittal": ((0, +1), (2, -1), (1, +1)),
}


def storage_axes(grid: Grid) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """For L, P, S: the storage axis (0 for I, 1 for J, 2 for K) that runs along it, and its sign (+1 towards L, P, S).

    Always a permutation: the one whose direction cosines sum to most. Ties (45 degrees) are decided by the axes' lines
    in space alone, hence equally for every storage order and flip of the same voxels.
    """
    matrix = grid.matrix
    best = max(permutations(range(3)), key=lambda axes: _rank(matrix, axes))
    return tuple((axis, 1 if matrix[row, axis] >= 0 else -1) for row, axis in enumerate(best))


def _rank(matrix: np.ndarray, axes: tuple[int, int, int]) -> tuple:
    lines = matrix[:, axes]  # column r: the storage axis proposed for LPS axis r
    cosines = np.abs(np.diag(lines))
    # The products say which way a line leans without saying which way it is walked: a flip changes neither sign.
    pairs = ((0, 1), (0, 2), (1, 2))
    leaning = [float(np.round(lines[a, r] * lines[b, r], 4)) + 0.0 for r in range(3) for a, b in pairs]
    usable = bool(cosines.min() > 1e-6)
    total = float(np.round(cosines[2] + cosines[1] + cosines[0], 4))
    return usable, total, [float(np.round(cosine, 4)) for cosine in cosines[::-1]], leaning


def lps_spacing(grid: Grid) -> tuple[float, float, float]:
    """Spacing in mm along the storage axes that run along left-right, anterior-posterior and superior-inferior."""
    return tuple(grid.spacing[axis] for axis, _ in storage_axes(grid))


def choose_plane(where: Grid | Sequence[float], plane: str) -> str:
    """The plane's name; "finest" becomes the one with the smallest pixels, ties going to axial, then coronal.

    where: a grid, or the spacings in mm along left-right, anterior-posterior and superior-inferior.
    """
    if plane in PLANES:
        return plane
    if plane != "finest":
        raise UserError(f"unknown slicing plane '{plane}'; choose one of {', '.join(PLANES)} or finest.")
    if isinstance(where, Grid):
        if where.dimension == 2:
            return "axial"
        where = lps_spacing(where)
    areas = {name: where[_LAYOUT[name][1][0]] * where[_LAYOUT[name][2][0]] for name in PLANES}
    finest = min(areas.values())
    return next(name for name in PLANES if areas[name] <= finest * 1.001)


def grid_difference(grid: Grid, other: Grid, unit: str) -> str:
    """In words, how two grids differ (as `Grid.difference`); in pixels, pictures need the same size only."""
    if unit == "pixel" and grid.dimension == other.dimension == 2:
        grid, other = (Grid(item.size, (1.0,) * 3, (0.0,) * 3, _IDENTITY, 2) for item in (grid, other))
    return grid.difference(other)


@dataclass(frozen=True)
class Slicing:
    """How one grid is cut into slices of one plane.

    plane: the plane really used. permutation: the axes of a KJI array in the order (slices, rows, columns). flips:
    which of these then run backwards. spacing: mm between slices, rows and columns; 1, 1, 1 in pixels. axes: the
    anatomical axis along which slices, rows and columns follow each other (of AXES; empty strings for a 2D picture).
    """

    plane: str
    permutation: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    spacing: tuple[float, float, float]
    axes: tuple[str, str, str]

    @classmethod
    def of(cls, grid: Grid, plane: str, unit: str = "mm") -> "Slicing":
        """Cut `grid` in `plane` (of PLANES, or "finest"); `unit` (of UNITS) is what the slices' spacing counts in.

        A 2D picture is taken as it is stored. A volume with exactly one axis of a single voxel is a slice already, and
        is cut along that axis whatever the plane.
        """
        plane = choose_plane(grid, plane)
        if unit == "pixel":
            grid = replace(grid, spacing=(1.0, 1.0, 1.0))
        if grid.dimension == 2:
            return cls(plane, (0, 1, 2), (False, False, False), grid.spacing[::-1], ("", "", ""))
        axes = storage_axes(grid)
        if grid.size.count(1) == 1:
            single = [axis for axis, _ in axes].index(grid.size.index(1))
            plane = next(name for name in PLANES if _LAYOUT[name][0][0] == single)
        layout = _LAYOUT[plane]
        stored = [axes[anatomical] for anatomical, _ in layout]
        return cls(
            plane,
            tuple(2 - axis for axis, _ in stored),
            tuple(sign != wanted for (_, sign), (_, wanted) in zip(stored, layout, strict=True)),
            tuple(grid.spacing[axis] for axis, _ in stored),
            tuple(AXES[anatomical] for anatomical, _ in layout),
        )

    @classmethod
    def in_planes(cls, grid: Grid, planes: Sequence[str], unit: str = "mm") -> list["Slicing"]:
        """`of` for each of the planes. Those that cut the grid alike count once: of a picture, or a single slice."""
        distinct: dict[tuple, Slicing] = {}
        for plane in planes:
            slicing = cls.of(grid, plane, unit)
            distinct.setdefault((slicing.permutation, slicing.flips), slicing)
        return list(distinct.values())

    @property
    def slice_axis(self) -> str:
        """The anatomical axis along which slices follow each other."""
        return self.axes[0]

    @property
    def row_axis(self) -> str:
        """The anatomical axis along which rows follow each other (down the picture)."""
        return self.axes[1]

    @property
    def column_axis(self) -> str:
        """The anatomical axis along which columns follow each other (across the picture)."""
        return self.axes[2]

    def cut(self, array: np.ndarray) -> np.ndarray:
        """A view (slices, rows, columns) on an array KJI."""
        return array.transpose(self.permutation)[self._steps]

    def restore(self, array: np.ndarray) -> np.ndarray:
        """The way back: a view KJI on an array (slices, rows, columns)."""
        return array[self._steps].transpose(np.argsort(self.permutation))

    @property
    def _steps(self) -> tuple[slice, slice, slice]:
        return tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
