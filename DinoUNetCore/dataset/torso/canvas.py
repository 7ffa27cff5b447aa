"""One thin slice through the patient, and strokes painted on it.

Coordinates are patient millimetres (x to the left, y to the back, z to the head: LPS) unless said otherwise;
distances are in mm, negative inside.
"""

from dataclasses import dataclass

import numpy as np

from DinoUNetCore.dataset.torso.draw import Vector, Wave, sum_of_products

Window = tuple[slice, slice]  # rows, columns of a slice
SMALL = 4096  # pixels; a bone's cortex and its inside share the distances of such a window


class Shape:
    """A region of the patient. `box`: its centre and half extents in mm (None: everywhere)."""

    keep: bool = False
    box: tuple[Vector, Vector] | None = None

    def distance(self, canvas: "SliceCanvas", window: Window) -> np.ndarray:
        """Signed distance in mm (an own array), about right near the border."""
        raise NotImplementedError


@dataclass(frozen=True)
class Paint:
    """One stroke: fill `shape` (shrunk by `inset` mm, and only inside `within` shrunk by `margin`) with `value` HU.

    `label` None keeps the label below. `slope` adds HU per mm towards the back;
    `gas_level` fills only in front of that y.
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


class SliceCanvas:
    """One infinitely thin slice: where its pixels lie in the patient, and what has been painted on it.

    `matrix` (3 rows of 4 Python floats) takes voxel indices (i, j, k, 1) to unwarped patient mm; `warp` holds the waves
    that bend x, y and z. `room` is the same as `matrix` for the scanner's room, where the table stands. `offset` is the
    index of the first pixel; borders are blurred over `softness` mm.
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
        self._kept: dict[int, tuple[Window, np.ndarray]] = {}

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

    def distance(self, shape: Shape, window: Window) -> np.ndarray:
        """Signed distance in `window`, not to be written to. One that will be asked for again is computed once."""
        home = self.whole if shape.keep else window
        kept = self._kept.get(id(shape))
        if kept is None or kept[0] != home:
            kept = home, shape.distance(self, home)
            if shape.keep or kept[1].size < SMALL:
                self._kept[id(shape)] = kept
        return kept[1][window] if shape.keep else kept[1]

    def paint(self, paint: Paint, window: Window, with_labels: bool) -> None:
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
