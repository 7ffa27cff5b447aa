"""A volume: channels of voxels on one grid in space.

Arrays are always KJI, as NumPy sees SimpleITK images: the first storage axis I varies fastest and comes last. Lengths
are millimetres and coordinates are LPS (x to the patient's left, y to posterior, z to superior). A 2D image is kept as
a volume of one slice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk

from DinoUNetCore.errors import UserError

# Grids count as the same when no corner voxel lies further apart than this part of a voxel. Headers written by
# different programs differ by float32 rounding (far below it); a shift that a user should know of is far above it.
SAME_GRID_VOXELS = 0.05


@dataclass(frozen=True)
class Grid:
    """Where the voxels of an image lie.

    size: voxels along I, J, K. spacing: mm along I, J, K. origin: LPS position of the first voxel's centre, mm.
    direction: nine numbers, row by row, whose columns are the unit vectors of I, J, K in LPS. dimension: 2 for a
    picture (its K is 1 voxel of 1 mm and the third direction is (0, 0, 1)), 3 for a volume.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]
    dimension: int = 3

    @classmethod
    def of(cls, image: sitk.Image) -> "Grid":
        """The grid of a 2D or 3D SimpleITK image, to the bit."""
        size, spacing, origin, direction = image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()
        if image.GetDimension() == 2:
            a, b, c, d = direction
            return cls((*size, 1), (*spacing, 1.0), (*origin, 0.0), (a, b, 0.0, c, d, 0.0, 0.0, 0.0, 1.0), 2)
        if image.GetDimension() != 3:
            raise UserError(f"an image has {image.GetDimension()} dimensions; only 2D and 3D images can be used.")
        return cls(size, spacing, origin, direction, 3)

    @property
    def matrix(self) -> np.ndarray:
        """The direction as a 3 x 3 float64 matrix; its columns are the unit vectors of I, J, K in LPS."""
        return np.array(self.direction, dtype=np.float64).reshape(3, 3)

    def position(self, index: Sequence[float]) -> np.ndarray:
        """LPS position in mm of a voxel's centre; `index` is (i, j, k)."""
        return np.array(self.origin) + self.matrix @ (np.array(self.spacing) * np.asarray(index, dtype=np.float64))

    def corners(self) -> np.ndarray:
        """LPS positions in mm of the eight corner voxels' centres, 8 x 3."""
        i, j, k = (count - 1 for count in self.size)
        return np.array([self.position((x, y, z)) for x in (0, i) for y in (0, j) for z in (0, k)])

    def close_to(self, other: "Grid", tolerance: float | None = None) -> bool:
        """Whether the sizes agree and no corner differs by more than `tolerance` mm (default: 5 % of a voxel)."""
        return not self.difference(other, tolerance)

    def difference(self, other: "Grid", tolerance: float | None = None) -> str:
        """In words, how `other` differs from this grid (as in `close_to`); an empty string if it does not."""
        if self.dimension != other.dimension:
            return f"one is {self.dimension}D, the other {other.dimension}D"
        if self.size != other.size:
            return f"their sizes differ ({_numbers(self.size)} and {_numbers(other.size)} voxels)"
        if tolerance is None:
            tolerance = SAME_GRID_VOXELS * min(*self.spacing, *other.spacing)
        distance = float(np.linalg.norm(self.corners() - other.corners(), axis=1).max())
        if distance <= tolerance:
            return ""
        for word, mine, theirs, unit in (
            ("spacings", self.spacing, other.spacing, " mm"),
            ("directions", self.direction, other.direction, ""),
            ("origins", self.origin, other.origin, " mm"),
        ):
            if not np.allclose(mine, theirs, rtol=1e-4, atol=1e-4):
                return (
                    f"their {word} differ ({_numbers(mine)} and {_numbers(theirs)}{unit}), "
                    f"so that voxels lie up to {distance:.3g} mm apart"
                )
        return f"their voxels lie up to {distance:.3g} mm apart"

    def to_image(self, array: np.ndarray) -> sitk.Image:
        """A SimpleITK image of `array` (KJI, of this size) on this grid, to the bit; 2D again if dimension is 2."""
        if array.shape != self.size[::-1]:
            raise ValueError(f"array of shape {array.shape} on a grid of {self.size[::-1]}")
        if array.dtype == bool:
            array = array.view(np.uint8)
        image = sitk.GetImageFromArray(np.ascontiguousarray(array if self.dimension == 3 else array[0]))
        image.SetSpacing(self.spacing[: self.dimension])
        image.SetOrigin(self.origin[: self.dimension])
        d = self.direction
        image.SetDirection(d if self.dimension == 3 else (d[0], d[1], d[3], d[4]))
        return image


@dataclass(frozen=True)
class Volume:
    """Channels on one grid: read-only arrays KJI in storage order, each with its own dtype.

    name: for messages. resampled: whether a channel lay on another grid than the first one, and was brought onto it.
    """

    channels: list[np.ndarray] = field(repr=False)
    grid: Grid
    name: str
    resampled: bool = False

    @classmethod
    def from_images(cls, images: Sequence[sitk.Image], name: str, resampled: bool = False) -> "Volume":
        """One channel per image, or per component of a vector image. The arrays are views that keep their image alive.

        Raises UserError where the images lie on different grids.
        """
        if not images:
            raise ValueError("a volume needs at least one image")
        grid = Grid.of(images[0])
        for number, image in enumerate(images[1:], start=2):
            difference = grid.difference(Grid.of(image))
            if difference:
                raise UserError(
                    f"{name}: image {number} lies on another grid than image 1: {difference}; "
                    "use --resample-channels to bring all channels onto the first one's grid."
                )
        return cls([channel for image in images for channel in channel_arrays(image)], grid, name, resampled)


def channel_arrays(image: sitk.Image) -> list[np.ndarray]:
    """Read-only views KJI on an image's voxels, one per component; each keeps the image alive."""
    array = np.asarray(_Voxels(image))
    if image.GetDimension() == 2:
        array = array[np.newaxis]
    components = image.GetNumberOfComponentsPerPixel()
    return [array] if components == 1 else [array[..., component] for component in range(components)]


class _Voxels:
    """Lends an image's buffer to NumPy: the array refers to this object, and this object to the image.

    SimpleITK's own view does not keep the image, and would point into freed memory once it is gone.
    """

    def __init__(self, image: sitk.Image):
        view = sitk.GetArrayViewFromImage(image)
        self.image = image
        self.__array_interface__ = dict(view.__array_interface__, data=(view.__array_interface__["data"][0], True))


def _numbers(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.6g}" for value in values)
