"""A convolution over upsampled maps, without those maps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DinoUNetCore.network.optimized.layers import maps, pixels, prepared

SKIP_STRIDE = 4
"""How much finer than its own map a skip connection is: two transposed convolutions of stride 2."""


class UpsampledConvolution(nn.Module):
    """A decoder stage's first convolution, straight from the two maps that it sees upsampled side by side.

    Nothing but transposed convolutions lies between: with the convolution, they are one of stride s and kernel s + 2.
    That is (s + 2)^2 / s^2 multiplications for a weight where the convolution alone has 9: 4, 2.25 and 1.56 for
    s = 2, 4 and 8. Zeros around the maps are zeros around what they would become, so it is exact up to the border.

    What the layers' biases add up to is a pattern that the zeros around break at the border. As it repeats with the
    skip connection's stride, that map gets a channel of ones, and the pattern is this channel's kernel.

    Args:
        conv: 3x3, over the upsampled map and the skip connection side by side.
        above: the transposed convolutions from the coarser map, one after the other.
        beside: those to the skip connection, `SKIP_STRIDE` finer in all.
        alignment: there are so many channels of ones that this divides all channels beside them; the first one works.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        above: list[nn.ConvTranspose2d],
        beside: list[nn.ConvTranspose2d],
        dtype: torch.dtype,
        alignment: int = 1,
    ):
        super().__init__()
        device, weight, half = conv.weight.device, conv.weight.cpu(), conv.in_channels // 2
        bias_alone = torch.cat((_upsampled_nothing(above), _upsampled_nothing(beside)), dim=1)
        of_ones = F.conv2d(bias_alone, weight, padding=2)
        self.ones = alignment - half % alignment
        unused = torch.zeros(self.ones - 1, *of_ones.shape[1:])
        of_skip = torch.cat((_kernel(beside, weight[:, half:]), of_ones, unused))
        self.of_map = _transposed(_kernel(above, weight[:, :half]).to(device), None, dtype)
        self.of_skip = _transposed(of_skip.to(device), conv.bias, dtype)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """x: the coarser map; skip: the skip connection's map before its upsampling; channels last
        -> what the convolution makes of both, upsampled.
        """
        with_ones = maps(F.pad(pixels(skip), (0, self.ones), value=1.0))
        return self.of_map(x).add_(self.of_skip(with_ones))


def _kernel(layers: list[nn.ConvTranspose2d], weight: Tensor) -> Tensor:
    """(inputs, outputs, s + 2, s + 2): what the transposed convolutions and then a convolution with this weight make of
    a single pixel that is 1 in one channel. On the CPU, as GPUs may round float32 in convolutions (TF32).
    """
    response = torch.eye(layers[0].in_channels)[..., None, None]
    for layer in layers:
        response = F.conv_transpose2d(response, layer.weight.cpu(), stride=layer.stride)
    return F.conv2d(response, weight, padding=2)


def _upsampled_nothing(layers: list[nn.ConvTranspose2d]) -> Tensor:
    """(1, C, s, s), s the skip connection's stride: what the layers make of zeros, which is what their biases do. It
    repeats at the latest after this: the first bias is the same everywhere, and at most two layers follow it.
    """
    x = torch.zeros(1, layers[0].in_channels, SKIP_STRIDE, SKIP_STRIDE)
    for layer in layers:
        x = F.conv_transpose2d(x, layer.weight.cpu(), layer.bias.cpu(), stride=layer.stride)
    return x[..., :SKIP_STRIDE, :SKIP_STRIDE]


def _transposed(kernel: Tensor, bias: Tensor | None, dtype: torch.dtype) -> nn.ConvTranspose2d:
    """kernel: (inputs, outputs, s + 2, s + 2)."""
    inputs, outputs, size = kernel.shape[:3]
    layer = nn.ConvTranspose2d(inputs, outputs, size, size - 2, padding=1, bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(kernel)
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return prepared(layer, dtype)
