"""Random numbers, rotations and smooth waves that come out the same on every machine.

What reaches a voxel is made with + - * / sqrt floor min max only: IEEE 754 rounds these the same everywhere, while sin,
exp or a BLAS product may differ in the last bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Vector = Sequence[float]


def sum_of_products(a: Vector, b: Vector) -> float:
    """A dot product whose order of additions is fixed."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


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
        """White noise (float32) of mean 0 and variance 1: sums of four evenly distributed numbers."""
        parts = self.bits.random_raw(shape[0] * shape[1]).view(np.uint16).reshape(-1, 4)
        total = parts[:, 0].astype(np.int32)
        for column in range(1, 4):
            total += parts[:, column]
        return ((total - 131070).astype(np.float32) * (1 / 37837.0)).reshape(shape)


def rotation(a: float, b: float, c: float) -> tuple[tuple[float, float, float], ...]:
    """Rows of a rotation about x, y and z by about 2a, 2b, 2c radians, from the quaternion (1, a, b, c)."""
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
