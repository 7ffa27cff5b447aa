"""Slices on their way to the network and back: normalised and resampled a few at a time, never a whole volume."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from DinoUNetCore.errors import UserError
from DinoUNetCore.inference.region import Part
from DinoUNetCore.volume.geometry import Slicing
from DinoUNetCore.volume.intensity import ChannelNormalization, fit
from DinoUNetCore.volume.resampling import resize, target_size
from DinoUNetCore.volume.volume import Volume

_VALUES_IN_A_BAND = 1 << 22  # features and logits that exist at once at the native size (16 MB)
LARGEST_SLICE = 1 << 27  # pixels at the network's spacing: gigabytes of features


class NetworkSlices:
    """The canonical slices of a volume as a network takes them, made when they are asked for.

    volume_size: (slices, rows, columns) of the volume. size: (rows, columns) at the network's spacing.
    """

    def __init__(
        self,
        volume: Volume,
        slicing: Slicing,
        normalization: Sequence[ChannelNormalization],
        spacing: Sequence[float],
        context_slices: int,
        device: torch.device,
    ):
        """spacing: (row, column) of the network. context_slices: 1, or 3 to add both neighbours as channels.

        UserError where slices would be too large to be held at the network's spacing.
        """
        self.channels = [slicing.cut(channel) for channel in volume.channels]
        self.rescales = fit(normalization, self.channels)
        self.volume_size: tuple[int, int, int] = self.channels[0].shape
        self.size = target_size(self.volume_size[1:], slicing.spacing[1:], spacing)
        if self.size[0] * self.size[1] > LARGEST_SLICE:
            raise UserError(
                f"{volume.name} would have slices of {self.size[0]} x {self.size[1]} pixels at the model's spacing, "
                "too many to hold; check the image's spacing, or crop it."
            )
        self.context_slices = context_slices
        self.device = device
        # MPS does not have every kind of resampling.
        self.resampling_device = torch.device("cpu") if device.type == "mps" else device

    def __len__(self) -> int:
        return self.volume_size[0]

    def needed(self, part: slice) -> slice:
        """Which of these slices those of a part of the volume are made from."""
        return part

    def read(self, start: int, stop: int) -> Tensor:
        """Slices start to stop - 1: (stop - start, channels * context_slices, *size) float32 on the device.

        With context, the channels are those of the slice before, of the slice itself and of the slice after it; the
        first and the last slice are their own neighbours.
        """
        reach = self.context_slices // 2
        first, last = max(0, start - reach), min(len(self), stop + reach)
        pixels = np.stack(
            [rescale(channel[first:last]) for rescale, channel in zip(self.rescales, self.channels, strict=True)],
            axis=1,
        )
        images = resize(_sent(torch.from_numpy(pixels), self.resampling_device), self.size).to(self.device)
        if reach == 0:
            return images
        numbers = torch.arange(start, stop, device=self.device)
        neighbours = [images[(numbers + step).clamp(0, len(self) - 1) - first] for step in range(-reach, reach + 1)]
        return torch.cat(neighbours, dim=1)


def _sent(pixels: Tensor, device: torch.device) -> Tensor:
    """On the device; CUDA fetches them when its present work is done, without anyone waiting for it."""
    if device.type == "cuda":
        return pixels.pin_memory().to(device, non_blocking=True)
    return pixels.to(device)


def bands_at_size(
    features: Tensor, size: Sequence[int], rows: int, part: slice = slice(None)
) -> Iterator[tuple[int, Tensor]]:
    """The features (F, h, w) of one slice resampled as by `resize` to (F, *size), in bands of so many rows.

    part: the rows wanted; all by default. Yields (first row, band). Many native slices are much larger than what the
    network saw; they never exist whole.
    """
    height, width = size
    across = resize(features[None], (features.shape[1], width))[0]
    if height < features.shape[1]:
        across = resize(across[None], (height, width))[0]
    start, stop, _ = part.indices(height)
    for first in range(start, stop, rows):
        yield first, _rows_at_height(across, height, first, min(first + rows, stop))


def part_bands(
    features: Tensor, size: Sequence[int], part: Part, outputs: int, device: torch.device
) -> Iterator[tuple[int, Tensor]]:
    """The features (F, h, w) of a slice of `size` in the part's rows and columns: (first row, (1, F, rows, columns)).

    outputs: channels that the caller makes of them. The bands, on the device, are low enough to hold both.
    """
    rows = max(1, _VALUES_IN_A_BAND // ((len(features) + outputs) * size[1]))
    if device.type == "mps":  # it does not have every kind of resampling
        features = features.cpu()
    for first, band in bands_at_size(features, size, rows, part.rows):
        yield first, band[None, :, :, part.columns].to(device)


def _rows_at_height(features: Tensor, height: int, first: int, stop: int) -> Tensor:
    """Rows first to stop - 1 of (F, h, W) stretched to (F, height, W), h <= height: bilinear, borders aligned."""
    old = features.shape[1]
    if old == height:
        return features[:, first:stop]
    # Made where they are needed: a copy to a GPU would wait for all of its work.
    places = (torch.arange(first, stop, dtype=torch.float64, device=features.device) + 0.5) * (old / height) - 0.5
    places = places.clamp(min=0)
    above = places.floor().long().clamp(max=old - 1)
    below = (above + 1).clamp(max=old - 1)
    weight = (places - above).to(torch.float32)[:, None]
    return torch.lerp(features[:, above], features[:, below], weight)
