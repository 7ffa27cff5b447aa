"""Intensities: from scanner numbers to the range a network likes, the same way in training and inference.

ct       clip to the data set's foreground range, then subtract its mean and divide by its standard deviation
zscore   subtract the mean of this image's channel and divide by its standard deviation
rgb      like zscore, with one mean and one deviation over the three channels, so that colours keep their relation
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from DinoUNetCore.errors import UserError

SCHEMES = ("ct", "zscore", "rgb")

# Types whose differences float32 holds well enough; others are computed in float64 before they become float32.
_EXACT_IN_FLOAT32 = ("bool", "uint8", "int8", "uint16", "int16", "float16", "float32")


@dataclass(frozen=True)
class Rescale:
    """(clip(x, low, high) - shift) * scale; low and high are None where nothing is clipped."""

    low: float | None
    high: float | None
    shift: float
    scale: float

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """The rescaled array as float32, C-contiguous, of the same shape. The input is left as it is."""
        working = np.float32 if array.dtype.name in _EXACT_IN_FLOAT32 else np.float64
        result = np.array(array, dtype=working, order="C")
        if self.low is not None or self.high is not None:
            np.clip(result, self.low, self.high, out=result)
        result -= working(self.shift)
        result *= working(self.scale)
        return result.astype(np.float32, copy=False)


@dataclass(frozen=True)
class ChannelNormalization:
    """How one channel is normalised. For the scheme "ct": low, high (clipping), mean and std of the data set."""

    scheme: str
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    std: float | None = None

    def __post_init__(self):
        if self.scheme not in SCHEMES:
            raise UserError(f"unknown normalisation '{self.scheme}'; choose one of {', '.join(SCHEMES)}.")
        numbers = (self.low, self.high, self.mean, self.std)
        if self.scheme == "ct":
            if not all(_is_number(number) for number in numbers) or self.low > self.high or self.std < 0:
                raise UserError(
                    "normalisation 'ct' needs the numbers low, high, mean and std, with low <= high and std >= 0."
                )
        elif numbers != (None, None, None, None):
            raise UserError(f"normalisation '{self.scheme}' is computed from each image and takes no numbers.")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; numbers only where the scheme has them."""
        if self.scheme != "ct":
            return {"scheme": self.scheme}
        return {"scheme": "ct", "low": self.low, "high": self.high, "mean": self.mean, "std": self.std}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ChannelNormalization":
        """From `to_json`; a UserError says what is wrong."""
        if not isinstance(data, Mapping) or "scheme" not in data:
            raise UserError(f"{data!r} is no normalisation; it needs a scheme ({', '.join(SCHEMES)}).")
        unknown = set(data) - {"scheme", "low", "high", "mean", "std"}
        if unknown:
            raise UserError(f"a normalisation has no entry '{min(unknown)}'; remove it.")
        return cls(**data)


def fit(normalizations: Sequence[ChannelNormalization], slices: Sequence[np.ndarray]) -> list[Rescale]:
    """One Rescale per channel of one image.

    slices: per channel an array (slices, rows, columns) in canonical orientation. Sums run in float64, slice by slice
    in that order, so that every storage order of the same image gives the same numbers to the bit.
    """
    if len(normalizations) != len(slices):
        raise ValueError(f"{len(normalizations)} normalisations for {len(slices)} channels")
    rgb = [array for normalization, array in zip(normalizations, slices, strict=True) if normalization.scheme == "rgb"]
    together = _statistics(rgb) if rgb else None
    rescales = []
    for normalization, array in zip(normalizations, slices, strict=True):
        if normalization.scheme == "ct":
            scale = 1 / normalization.std if normalization.std > 0 else 1.0
            rescales.append(Rescale(normalization.low, normalization.high, normalization.mean, scale))
        else:
            mean, std = together if normalization.scheme == "rgb" else _statistics([array])
            rescales.append(Rescale(None, None, mean, 1 / std if std > 0 else 1.0))
    return rescales


def _statistics(channels: Sequence[np.ndarray]) -> tuple[float, float]:
    """Mean and standard deviation (0 for a constant image) over all voxels of the channels together."""
    count, mean, squares = 0, 0.0, 0.0  # squares: the sum of squared distances from the mean
    low, high = math.inf, -math.inf
    for channel in channels:
        for plane in channel:
            values = np.array(plane, dtype=np.float64, order="C").ravel()  # the order of summation decides the last bit
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            plane_mean = float(values.mean())
            values -= plane_mean
            distance, total = plane_mean - mean, count + values.size
            squares += float(np.square(values).sum()) + distance * distance * count * values.size / total
            mean += distance * values.size / total
            count = total
    return mean, math.sqrt(squares / count) if high > low else 0.0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
