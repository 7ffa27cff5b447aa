"""Augmentation of training samples: the loader draws a sample's numbers, the device applies a whole batch's at once.

Reference: nnU-Net (Isensee 2021), supplementary note 2, as the authors use it: the order and the ranges are theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, cos, pi, sin
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from DinoUNetCore.dataset.intensity_augmentation import INTENSITY_CHANGES, add_noise
from DinoUNetCore.dataset.spatial_augmentation import MIRRORINGS, crop_centre, warp

MARGIN = 1.5
"""Windows are cut this much larger than patches, so that rotating and shrinking find pixels beyond them."""


@dataclass(frozen=True)
class Chance:
    """How often something is done, and the range of its strength. evenly: as often below 1 as above, whatever the
    range; otherwise every strength is as likely.
    """

    probability: float
    low: float
    high: float
    evenly: bool = False

    def draw(self, random: np.random.Generator, count: int) -> np.ndarray | None:
        """`count` strengths, or None if it is not to be done."""
        if random.random() >= self.probability:
            return None
        if not self.evenly:
            return random.uniform(self.low, self.high, count)
        below = random.random(count) < 0.5
        return random.uniform(np.where(below, self.low, 1.0), np.where(below, 1.0, self.high))


@dataclass(frozen=True)
class AugmentationSettings:
    """What is done how often and how much, in this order.

    rotation: degrees either way. scaling: how much more of the slice a patch's side shows (0.7 magnifies by 1.4).
    noise: standard deviation, in the units of the normalised image. blur: sigma in pixels. brightness, contrast:
    factors. low_resolution: of how many times the pixels per side only the patch is made. inverted_gamma, gamma:
    exponents. mirror: of "rows" and "columns", each in half of the samples.
    """

    rotation: float = 180.0
    rotation_probability: float = 0.2
    scaling: Chance = Chance(0.2, 0.7, 1.4)
    noise: Chance = Chance(0.1, 0.0, 0.1)
    blur: Chance = Chance(0.2, 0.5, 1.0)
    brightness: Chance = Chance(0.15, 0.75, 1.25, evenly=True)
    contrast: Chance = Chance(0.15, 0.75, 1.25, evenly=True)
    low_resolution: Chance = Chance(0.25, 0.5, 1.0)
    inverted_gamma: Chance = Chance(0.1, 0.7, 1.5, evenly=True)
    gamma: Chance = Chance(0.3, 0.7, 1.5, evenly=True)
    mirror: tuple[str, ...] = ("rows", "columns")


@dataclass
class Numbers:
    """What was drawn for one sample. None, or a name that is missing, means that it is not done.

    rotation: degrees, clockwise. scaling: how much more of the slice a side shows. mirror: along (rows, columns).
    noise: standard deviation. noise_seed: of the device's generator, which noises the pixels.
    intensity: name of INTENSITY_CHANGES -> strength of each channel, (C,) float32.
    """

    rotation: float | None = None
    scaling: float | None = None
    mirror: tuple[bool, bool] = (False, False)
    noise: float | None = None
    noise_seed: int = 0
    intensity: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def warps(self) -> bool:
        """Whether pixels must be interpolated."""
        return self.rotation is not None or self.scaling is not None

    def matrix(self) -> np.ndarray:
        """(2, 2) float32: where a pixel of the patch is looked up in the window, as offsets (row, column) from the
        patch's centre. Mirroring acts on the rotated and scaled picture.
        """
        angle, scale = (self.rotation or 0.0) * pi / 180, self.scaling or 1.0
        rotated = scale * np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])
        return (rotated * [-1 if mirrored else 1 for mirrored in self.mirror]).astype(np.float32)


class Windows(NamedTuple):
    """A batch before its augmentation. image: (B, C, H, W) of any float type. label: (B, H, W), class indices."""

    image: Tensor
    label: Tensor
    numbers: list[Numbers]


class Augmentation:
    """Draws the numbers of one sample, and makes patches of a batch of windows by them."""

    def __init__(self, settings: AugmentationSettings, patch_size: Sequence[int]):
        self.settings = settings
        self.patch_size = tuple(patch_size)

    @property
    def window_size(self) -> tuple[int, ...]:
        """(rows, columns) to cut around a patch's centre."""
        return tuple(ceil(MARGIN * side) for side in self.patch_size)

    def draw(self, random: np.random.Generator, channels: int, context_slices: int = 1) -> Numbers:
        """The numbers of one sample. Each of its channels gets strengths of its own, the context slices the same."""
        settings = self.settings
        turned = Chance(settings.rotation_probability, -settings.rotation, settings.rotation).draw(random, 1)
        scaled = settings.scaling.draw(random, 1)
        noise = settings.noise.draw(random, 1)
        strengths = {name: getattr(settings, name).draw(random, channels) for name in INTENSITY_CHANGES}
        return Numbers(
            rotation=None if turned is None else float(turned[0]),
            scaling=None if scaled is None else float(scaled[0]),
            mirror=tuple(bool(axis in settings.mirror and random.random() < 0.5) for axis in ("rows", "columns")),
            noise=None if noise is None else float(noise[0]),
            noise_seed=int(random.integers(2**63)),
            intensity={
                name: np.tile(values, context_slices).astype(np.float32)
                for name, values in strengths.items()
                if values is not None
            },
        )

    def __call__(self, windows: Windows, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Patches (B, C, h, w) float32 and classes (B, h, w) int64 on `device`, where all of it is computed.

        A sample for which nothing was drawn is the middle of its window to the bit. What is not drawn costs nothing.
        """
        device, numbers = torch.device(device), windows.numbers
        image, label = (_on(device, part) for part in (windows.image, windows.label))
        patch, classes = (crop_centre(part, self.patch_size) for part in (image, label))
        patch, classes = patch.to(torch.float32, copy=True), classes.to(torch.int64, copy=True)

        warped = [index for index, one in enumerate(numbers) if one.warps]
        if warped:
            places = _on(device, torch.tensor(warped))
            matrices = _on(device, torch.from_numpy(np.stack([numbers[index].matrix() for index in warped])))
            chosen = (part.index_select(0, places) for part in (image, label))
            patch[places], classes[places] = warp(*chosen, matrices, self.patch_size)
        for wish, axes in MIRRORINGS.items():
            mirrored = [index for index, one in enumerate(numbers) if one.mirror == wish and not one.warps]
            if mirrored:
                places = _on(device, torch.tensor(mirrored))
                for part in (patch, classes):
                    part[places] = part.index_select(0, places).flip(axes)

        for index, one in enumerate(numbers):
            if one.noise is not None:
                add_noise(patch[index], one.noise, one.noise_seed)
        for name, change in INTENSITY_CHANGES.items():
            changed = [index for index, one in enumerate(numbers) if name in one.intensity]
            if changed:
                places = _on(device, torch.tensor(changed))
                strengths = np.stack([numbers[index].intensity[name] for index in changed])[..., None, None]
                patch[places] = change(patch.index_select(0, places), _on(device, torch.from_numpy(strengths)))
        return patch, classes


def _on(device: torch.device, tensor: Tensor) -> Tensor:
    """The tensor on the device. CUDA is not waited for: it may still be busy with the last batch."""
    return tensor.to(device, non_blocking=device.type == "cuda")
