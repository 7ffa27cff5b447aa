"""Shapes with a signed distance (mm, negative inside, about right near the border) in the patient's frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from DinoUNetCore.dataset.torso.canvas import Shape
from DinoUNetCore.dataset.torso.draw import Vector, Wave, sum_of_products


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
    """The points around a segment, the radius going from `ra` to `rb`; `squeeze` shrinks x, y, z first."""

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
    """A barrel: half width, depths to front and back; it closes above `top` within `dome` mm, and below `bottom`.

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
