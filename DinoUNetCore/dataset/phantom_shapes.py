"""Building blocks of the phantom: random draws, smooth waves, shapes with a signed distance, and one slice to paint on.

Coordinates are patient millimetres (x to the left, y to the back, z to the head: LPS) unless said otherwise; distances are
in mm, negative inside. Everything that reaches a voxel is made with + - * / sqrt floor min max only: IEEE 754 rounds these
the same on every machine, while sin, exp or a BLAS product may differ in the last bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

Vector = Sequence[float]
Window = tuple[slice, slice]  # rows, columns of a slice


class Draw:
    """Random numbers with a fixed stream for (seed, purpose) on every platform."""

    def __init__(self, seed: int, purpose: int):
        self.bits = np.random.PCG64(np.random.SeedSequence([seed, purpose]))

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * (int(self.bits.random_raw()) >> 11) * 2.0**-53

    def around(self, value: float, fraction: float) -> float:
        """`value`, up to `fraction` of it more or less."""
        return value * self.between(1 - fraction, 1 + fraction)

    def near(self, point: Vector, reach: float) -> tuple[float, float, float]:
        x, y, z = (c + self.between(-reach, reach) for c in point)
        return x, y, z

    def choice(self, options: Sequence):
        return options[min(int(self.between(0, len(options))), len(options) - 1)]

    def direction(self) -> tuple[float, float, float]:
        """A unit vector, evenly over the sphere."""
        while True:
            x, y, z = (self.between(-1, 1) for _ in range(3))
            length = (x * x + y * y + z * z) ** 0.5
            if 0.1 < length <= 1:
                return x / length, y / length, z / length

    def grain(self, shape: tuple[int, int]) -> np.ndarray:
        """White noise (float32) of mean 0 and variance 1: the sum of four evenly distributed numbers."""
        parts = self.bits.random_raw(shape[0] * shape[1]).view(np.uint16).reshape(-1, 4)
        total = parts[:, 0].astype(np.int32)
        for column in range(1, 4):
            total += parts[:, column]
        return ((total - 131070).astype(np.float32) * (1 / 37837.0)).reshape(shape)


def rotation(a: float, b: float, c: float) -> tuple[tuple[float, float, float], ...]:
    """Rows of a rotation about x, y and z by about 2a, 2b, 2c radians, from the quaternion (1, a, b, c): no sine needed."""
    n = 1 + a * a + b * b + c * c
    return (
        ((1 + a * a - b * b - c * c) / n, 2 * (a * b - c) / n, 2 * (a * c + b) / n),
        (2 * (a * b + c) / n, (1 - a * a + b * b - c * c) / n, 2 * (b * c - a) / n),
        (2 * (a * c - b) / n, 2 * (b * c + a) / n, (1 - a * a - b * b + c * c) / n),
    )


@dataclass(frozen=True)
class Wave:
    """A smooth plane wave: `amplitude` times a parabolic sine of `frequency` (turns per mm along x, y, z)."""

    frequency: tuple[float, float, float]
    phase: float
    amplitude: float

    def at(self, point: Vector) -> float:
        """Its value at one point (SliceCanvas.wave computes whole slices)."""
        turns = sum_of_products(self.frequency, point) + self.phase
        turns -= math.floor(turns) + 0.5
        return turns * (8 - 16 * abs(turns)) * self.amplitude


def waves(draw: Draw, count: int, amplitude: float, shortest: float, longest: float) -> tuple[Wave, ...]:
    """Waves of random direction, with lengths in mm; together they reach at most `amplitude`."""
    made = []
    for _ in range(count):
        length = draw.between(shortest, longest)
        x, y, z = draw.direction()
        frequency = (x / length, y / length, z / length)
        made.append(Wave(frequency, draw.between(0, 1), amplitude / count * draw.between(0.5, 1)))
    return tuple(made)


class SliceCanvas:
    """One infinitely thin slice: where its pixels lie in the patient, and what has been painted on it.

    `matrix` (3 rows of 4 Python floats) takes the pixel indices (i, j, 1, k) to unwarped patient mm; `warp` holds the waves
    that bend x, y and z. `room` is the same as `matrix` for the scanner's room, where the table stands.
    """

    def __init__(self, matrix, room, warp, shape: tuple[int, int], offset: Vector, softness: float):
        self.shape, self.softness, self.offset = shape, softness, offset
        self.matrix, self.room = matrix, room
        self.whole: Window = (slice(0, shape[0]), slice(0, shape[1]))
        self._i = np.arange(shape[1], dtype=np.float64)[None, :] + offset[0]
        self._j = np.arange(shape[0], dtype=np.float64)[:, None] + offset[1]
        self.xyz = []
        for axis in range(3):
            coordinate = self._affine(matrix[axis], self.whole)
            for wave in warp[axis]:
                coordinate += self.wave(wave, self.whole)
            self.xyz.append(coordinate)
        self.values = np.full(shape, -1000, np.float32)
        self.labels = np.zeros(shape, np.uint8)
        self._kept: dict[int, np.ndarray] = {}

    def _affine(self, row: Vector, window: Window) -> np.ndarray:
        across = row[0] * self._i[:, window[1]] + (row[2] * self.offset[2] + row[3])
        return across.astype(np.float32) + (row[1] * self._j[window[0]]).astype(np.float32)

    def wave(self, wave: Wave, window: Window) -> np.ndarray:
        f = wave.frequency
        row = [sum_of_products(f, [self.matrix[axis][c] for axis in range(3)]) for c in range(4)]
        row[3] += wave.phase
        turns = self._affine(row, window)
        turns -= np.floor(turns)
        turns -= 0.5
        rise = np.abs(turns)
        rise *= -16 * wave.amplitude
        rise += 8 * wave.amplitude
        rise *= turns
        return rise

    def points(self, window: Window) -> list[np.ndarray]:
        return [coordinate[window] for coordinate in self.xyz]

    def room_points(self, window: Window) -> list[np.ndarray]:
        return [self._affine(row, window) for row in self.room]

    def distance(self, shape: "Shape", window: Window) -> np.ndarray:
        """Signed distance in `window`; that of a shape to keep is computed once, for the whole slice."""
        if not shape.keep:
            return shape.distance(self, window)
        if id(shape) not in self._kept:
            self._kept[id(shape)] = shape.distance(self, self.whole)
        return self._kept[id(shape)][window]

    def paint(self, paint: "Paint", window: Window, with_labels: bool) -> None:
        distance = self.distance(paint.shape, window) + paint.inset
        if paint.within is not None:
            np.maximum(distance, self.distance(paint.within, window) + paint.margin, out=distance)
        if paint.gas_level is not None:
            np.maximum(distance, self.xyz[1][window] - paint.gas_level, out=distance)
        if with_labels and paint.label is not None:
            self.labels[window][distance < 0] = paint.label
        if not (distance < self.softness / 2).any():
            return
        cover = distance
        cover *= -1 / self.softness
        cover += 0.5
        np.maximum(cover, 0, out=cover)
        np.minimum(cover, 1, out=cover)
        difference = paint.value - self.values[window]
        for wave in paint.texture:
            difference += self.wave(wave, window)
        if paint.slope:
            difference += paint.slope * self.xyz[1][window]
        difference *= cover
        self.values[window] += difference


def sum_of_products(a: Vector, b: Vector) -> float:
    """A dot product whose order of additions is fixed."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


class Shape:
    """A region of the patient. `box`: its centre and half extents in mm (None: everywhere)."""

    keep: bool = False
    box: tuple[Vector, Vector] | None = None

    def distance(self, canvas: SliceCanvas, window: Window) -> np.ndarray:
        """Signed distance in mm (an own array), about right near the border."""
        raise NotImplementedError


@dataclass(eq=False)
class Ellipsoid(Shape):
    centre: Vector
    radii: Vector
    turn: Sequence[Vector] | None = None  # rows: the ellipsoid's axes
    lumps: tuple[Wave, ...] = ()
    keep: bool = False

    def __post_init__(self):
        reach = max(self.radii) if self.turn else 0
        lump = sum(wave.amplitude for wave in self.lumps)
        self.box = (self.centre, [max(radius, reach) + lump for radius in self.radii])

    def distance(self, canvas, window):
        p = [c - m for c, m in zip(canvas.points(window), self.centre, strict=True)]
        if self.turn:
            p = [row[0] * p[0] + row[1] * p[1] + row[2] * p[2] for row in self.turn]
        near, steep = 0.0, 1e-12
        for coordinate, radius in zip(p, self.radii, strict=True):
            scaled = coordinate * (1 / radius)
            scaled *= scaled
            near = near + scaled
            steep = steep + scaled * (1 / radius**2)
        near = np.sqrt(near)
        distance = near * (near - 1) / np.sqrt(steep)
        for wave in self.lumps:
            distance += canvas.wave(wave, window)
        return distance


@dataclass(eq=False)
class Capsule(Shape):
    """The points around the segment from `a` to `b`, its radius going from `ra` to `rb`; `squeeze` shrinks x, y, z first."""

    a: Vector
    b: Vector
    ra: float
    rb: float
    squeeze: Vector = (1, 1, 1)
    keep: bool = False

    def __post_init__(self):
        centre = [(p + q) / 2 for p, q in zip(self.a, self.b, strict=True)]
        radius = max(self.ra, self.rb)
        half = [abs(p - q) / 2 + radius / s for p, q, s in zip(self.a, self.b, self.squeeze, strict=True)]
        self.box = (centre, half)

    def distance(self, canvas, window):
        p = [(c - m) * s for c, m, s in zip(canvas.points(window), self.a, self.squeeze, strict=True)]
        axis = [(q - m) * s for q, m, s in zip(self.b, self.a, self.squeeze, strict=True)]
        length = max(sum_of_products(axis, axis), 1e-6)
        along = (p[0] * axis[0] + p[1] * axis[1] + p[2] * axis[2]) * (1 / length)
        np.maximum(along, 0, out=along)
        np.minimum(along, 1, out=along)
        square = 0.0
        for coordinate, component in zip(p, axis, strict=True):
            rest = coordinate - along * component
            rest *= rest
            square = square + rest
        distance = np.sqrt(square)
        along *= self.rb - self.ra
        along += self.ra
        distance -= along
        return distance


@dataclass(eq=False)
class Trunk(Shape):
    """A long barrel: half width, depths to the front and to the back; above `top` it closes within `dome` mm, below `bottom` too.

    `square` (0..1) makes an ellipse into a rounded box; `groove` is the depth of the furrow along the back.
    """

    width: float
    front: float
    back: float
    top: float
    dome: float
    bottom: float = -215
    square: float = 0.4
    groove: float = 0
    lumps: tuple[Wave, ...] = ()
    keep: bool = True

    def norm(self, x: float, y: float) -> float:
        """1 on the outline of a horizontal section below the dome (Python floats)."""
        u, v = (x / self.width) ** 2, (y / (self.back if y > 0 else self.front)) ** 2
        return (1 - self.square) * (u + v) ** 0.5 + self.square * (u * u + v * v) ** 0.25

    def distance(self, canvas, window):
        x, y, z = canvas.points(window)
        u = x * (1 / self.width)
        u *= u
        v = y * np.where(y > 0, np.float32(1 / self.back), np.float32(1 / self.front))
        v *= v
        ellipse, box = u + v, np.sqrt(u * u + v * v)
        flat = (1 - self.square) * np.sqrt(ellipse) + self.square * np.sqrt(box)
        over = np.maximum(np.maximum(z - self.top, (self.bottom - z) * (self.dome / 45)), 0)
        norm = np.sqrt(flat * flat + over * over * (1 / self.dome**2)) + 1e-6
        distance = (1 - 1 / norm) * np.sqrt(x * x + y * y + over * over)
        if self.groove:
            furrow = np.maximum(1 - x * x * (1 / 32.0**2), 0)
            distance += np.where(y > 0, self.groove * furrow * furrow, np.float32(0))
        for wave in self.lumps:
            distance += canvas.wave(wave, window)
        return distance


@dataclass(eq=False)
class HalfSpace(Shape):
    """The side of the plane through `point` that lies against its outward `normal`."""

    point: Vector
    normal: Vector
    lumps: tuple[Wave, ...] = ()

    def distance(self, canvas, window):
        length = sum_of_products(self.normal, self.normal) ** 0.5
        n = [component / length for component in self.normal]
        x, y, z = canvas.points(window)
        distance = n[0] * x + n[1] * y + n[2] * z - sum_of_products(n, self.point)
        for wave in self.lumps:
            distance += canvas.wave(wave, window)
        return distance


@dataclass(eq=False)
class Shell(Shape):
    """A thin sheet `depth` mm inside the border of `shape`."""

    shape: Shape
    depth: float
    thickness: float
    lumps: tuple[Wave, ...] = ()

    def __post_init__(self):
        self.box = self.shape.box

    def distance(self, canvas, window):
        distance = np.abs(canvas.distance(self.shape, window) + self.depth) - self.thickness / 2
        for wave in self.lumps:
            distance += canvas.wave(wave, window)
        return distance


@dataclass(eq=False)
class Union(Shape):
    """All of `shapes`, their joints rounded over about `blend` mm."""

    shapes: Sequence[Shape]
    blend: float = 0
    lumps: tuple[Wave, ...] = ()
    keep: bool = False

    def __post_init__(self):
        lump = sum(wave.amplitude for wave in self.lumps) + self.blend / 4
        low = [min(s.box[0][axis] - s.box[1][axis] for s in self.shapes) - lump for axis in range(3)]
        high = [max(s.box[0][axis] + s.box[1][axis] for s in self.shapes) + lump for axis in range(3)]
        pairs = list(zip(low, high, strict=True))
        self.box = ([(p + q) / 2 for p, q in pairs], [(q - p) / 2 for p, q in pairs])

    def distance(self, canvas, window):
        total = self.shapes[0].distance(canvas, window)
        for shape in self.shapes[1:]:
            other = shape.distance(canvas, window)
            if self.blend:
                near = np.maximum(self.blend - np.abs(total - other), 0)
                near *= near
                total = np.minimum(total, other) - near * (1 / (4 * self.blend))
            else:
                np.minimum(total, other, out=total)
        for wave in self.lumps:
            total += canvas.wave(wave, window)
        return total


@dataclass(eq=False)
class Cut(Shape):
    """`shape` where it lies inside every shape of `inside` (by `margin` mm) and outside every one of `outside`.

    Edges are rounded over about `blend` mm.
    """

    shape: Shape
    inside: Sequence[Shape] = ()
    margin: float = 0
    outside: Sequence[Shape] = ()
    blend: float = 0
    keep: bool = False

    def __post_init__(self):
        self.box = self.shape.box

    def distance(self, canvas, window):
        distance = canvas.distance(self.shape, window)
        cuts = [canvas.distance(shape, window) + self.margin for shape in self.inside]
        cuts += [-canvas.distance(shape, window) for shape in self.outside]
        for cut in cuts:
            if self.blend:
                near = np.maximum(self.blend - np.abs(distance - cut), 0)
                near *= near
                near *= 1 / (4 * self.blend)
                distance = np.maximum(distance, cut, out=cut)
                distance += near
            else:
                distance = np.maximum(distance, cut, out=cut)
        return distance if distance.base is None else distance.copy()


@dataclass(eq=False)
class Table(Shape):
    """The scanner's table in its room: the crescent between two arcs."""

    top: float  # y of its upper surface in the middle
    half_width: float
    keep: ClassVar[bool] = False
    box: ClassVar[None] = None

    def distance(self, canvas, window):
        x, y, _ = canvas.room_points(window)
        upper, lower = 620.0, 330.0  # radii of the two arcs
        top = np.sqrt(x * x + (y - (self.top - upper)) ** 2) - upper
        bottom = np.sqrt(x * x + (y - (self.top + 62 - lower)) ** 2) - lower
        return np.maximum(np.maximum(-top, bottom), np.abs(x) - self.half_width)


@dataclass(frozen=True)
class Paint:
    """One stroke: fill `shape` (shrunk by `inset` mm, and only inside `within` shrunk by `margin`) with `value` HU.

    `label` None keeps the label below. `slope` adds HU per mm towards the back; `gas_level` fills only in front of that y.
    """

    shape: Shape
    value: float
    label: int | None = None
    inset: float = 0
    texture: tuple[Wave, ...] = ()
    slope: float = 0
    within: Shape | None = None
    margin: float = 0
    gas_level: float | None = None
