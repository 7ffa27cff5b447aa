"""The decoder with its upsampling as linear maps, written to where the skip connections are."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DinoUNetCore.network.decoder import ConvBlock, Decoder, Stage
from DinoUNetCore.network.fapm import LEAK
from DinoUNetCore.network.optimized.layers import instance_norm, linear, maps, pixel_shuffle_into, pixels, shorten


class OptimizedUpsampling(nn.Module):
    """A transposed 2x2 convolution of stride 2, applied twice: each pixel becomes 4 x 4 of the same channels."""

    factor = 4

    def __init__(self, up: nn.ConvTranspose2d, dtype: torch.dtype):
        super().__init__()
        once = up.weight.permute(2, 3, 1, 0)  # (2, 2, outputs, inputs)
        # Row 2a + c and column 2b + d of the four by four: place (a, b) of the first, (c, d) of the second.
        twice = torch.einsum("cdom,abmi->acbdoi", once, once)
        bias = torch.einsum("cdom,m->cdo", once, up.bias) + up.bias  # the same in all places of the first
        bias = bias[None, :, None].expand(2, -1, 2, -1, -1)
        self.linear = linear(twice.flatten(0, 4), bias.flatten(), dtype)

    def into(self, target: Tensor, x: Tensor) -> None:
        """x: (B, C, h, w) -> a view (B, 4 * h, 4 * w, C), which is filled."""
        pixel_shuffle_into(target, self.linear(pixels(x)), self.factor)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, h, w) -> (B, C, 4 * h, 4 * w)."""
        batch, channels, height, width = x.shape
        result = x.new_empty(batch, self.factor * height, self.factor * width, channels)
        self.into(result, x)
        return maps(result)


class OptimizedDecoder(nn.Module):
    """Takes over the decoder and the upsampling of its skip connections."""

    def __init__(self, ups: nn.ModuleList, decoder: Decoder, dtype: torch.dtype):
        super().__init__()
        self.ups = nn.ModuleList(OptimizedUpsampling(up, dtype) for up in ups)
        self.transpconvs = nn.ModuleList(
            linear(layer.weight.permute(2, 3, 1, 0).flatten(0, 2), layer.bias.repeat(4), dtype)
            for layer in decoder.transpconvs
        )
        self.stages: nn.ModuleList = shorten(decoder.stages.to(memory_format=torch.channels_last), dtype)
        self.head = decoder.seg_layers[-1]

    def forward(self, projected: list[Tensor]) -> Tensor:
        """projected: what FAPM makes, (B, features[i], H / 2**(i + 2), W / 2**(i + 2)) -> float32
        (B, features[0], H, W).
        """
        x = self.ups[-1](projected[-1])
        steps = zip(self.transpconvs, self.stages, self.ups[-2::-1], projected[-2::-1], strict=True)
        for transpconv, stage, up, level in steps:
            batch, channels, height, width = level.shape
            both = x.new_empty(batch, up.factor * height, up.factor * width, 2 * channels)
            pixel_shuffle_into(both[..., :channels], transpconv(pixels(x)), 2)
            up.into(both[..., channels:], level)
            x = _stage(stage, maps(both))
        return x.float()


def _stage(stage: Stage, x: Tensor) -> Tensor:
    for block in stage.convs:
        x = _block(block, x)
    return x


def _block(block: ConvBlock, x: Tensor) -> Tensor:
    return F.leaky_relu_(instance_norm(block.conv(x), block.norm), LEAK)
