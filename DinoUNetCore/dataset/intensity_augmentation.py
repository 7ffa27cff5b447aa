"""Changes of pixels' values: each takes images (n, C, H, W) float32 and strengths (n, C, 1, 1), and returns images."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

BLUR_REACH = 3
"""Pixels either way that a blurred one sees: three times the largest sigma."""


def add_noise(image: Tensor, deviation: float, seed: int) -> None:
    """Add Gaussian noise in place. The same seed gives the same noise on every device of the same kind."""
    generator = torch.Generator(image.device).manual_seed(seed)
    image.add_(torch.randn(image.shape, generator=generator, device=image.device), alpha=deviation)


def blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur; beyond the border its pixels repeat. sigma: in pixels."""
    n, channels, rows, columns = image.shape
    steps = torch.arange(-BLUR_REACH, BLUR_REACH + 1, device=image.device)
    kernel = torch.exp(-0.5 * (steps / sigma.reshape(-1, 1)) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    image = F.pad(image, [BLUR_REACH] * 4, mode="replicate").reshape(1, n * channels, rows + 2 * BLUR_REACH, -1)
    for shape in ((-1, 1, kernel.shape[1], 1), (-1, 1, 1, kernel.shape[1])):
        image = F.conv2d(image, kernel.reshape(shape), groups=n * channels)
    return image.reshape(n, channels, rows, columns)


def change_brightness(image: Tensor, factor: Tensor) -> Tensor:
    return image * factor


def change_contrast(image: Tensor, factor: Tensor) -> Tensor:
    """Values move away from the channel's mean (factor > 1) or towards it, but not beyond its least and largest."""
    mean = _mean(image)
    return torch.lerp(mean, image, factor).clamp(_least(image), _largest(image))


def lower_resolution(image: Tensor, scale: Tensor) -> Tensor:
    """As if taken with `scale` times the pixels along each side: the nearest pixels, interpolated back linearly.

    Equals `interpolate` (nearest-exact, then bilinear), with one scale for each channel in one go.
    """
    for axis in (-2, -1):
        side = image.shape[axis]
        fewer = (side * scale).round().clamp(min=1)
        steps = torch.arange(side, device=image.device).view((side, 1) if axis == -2 else (1, side))
        place = ((steps + 0.5) * (fewer / side) - 0.5).clamp(min=0)  # among the fewer pixels, counted by their centres
        lower = place.floor()
        upper = torch.minimum(lower + 1, fewer - 1)
        neighbours = (
            image.gather(axis, ((index + 0.5) * (side / fewer)).long().expand_as(image)) for index in (lower, upper)
        )
        image = torch.lerp(*neighbours, place - lower)
    return image


def change_gamma(image: Tensor, exponent: Tensor) -> Tensor:
    """Raise values, as parts of the channel's range, to a power; its mean and standard deviation stay."""
    least, mean = _least(image), _mean(image)
    bent = (image - least).div_((_largest(image) - least).clamp(min=1e-7)).pow_(exponent)
    bent.sub_(_mean(bent))
    # as parts of each other, norms of what varies are standard deviations, and quicker
    old, new = (torch.linalg.vector_norm(varying, dim=(-2, -1), keepdim=True) for varying in (image - mean, bent))
    return bent.mul_(old / new.clamp(min=1e-7)).add_(mean)


def change_inverted_gamma(image: Tensor, exponent: Tensor) -> Tensor:
    """`change_gamma` of the negative image: it acts on the bright values as the other one on the dark ones."""
    return -change_gamma(-image, exponent)


def _mean(image: Tensor) -> Tensor:
    return image.mean(dim=(-2, -1), keepdim=True)


def _least(image: Tensor) -> Tensor:
    return image.amin(dim=(-2, -1), keepdim=True)


def _largest(image: Tensor) -> Tensor:
    return image.amax(dim=(-2, -1), keepdim=True)


INTENSITY_CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "blur": blur,
    "brightness": change_brightness,
    "contrast": change_contrast,
    "low_resolution": lower_resolution,
    "inverted_gamma": change_inverted_gamma,
    "gamma": change_gamma,
}
"""In the order in which they are done."""
