"""The decoder with channels last."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DinoUNetCore.network.decoder import ConvBlock, Decoder
from DinoUNetCore.network.fapm import LEAK
from DinoUNetCore.network.optimized.layers import instance_norm, prepared


class OptimizedDecoder(nn.Module):
    """Takes over a decoder."""

    def __init__(self, decoder: Decoder, dtype: torch.dtype):
        super().__init__()
        self.transpconvs: nn.ModuleList = prepared(decoder.transpconvs, dtype)
        self.stages: nn.ModuleList = prepared(decoder.stages, dtype)
        self.head = decoder.head

    def forward(self, skips: list[Tensor]) -> Tensor:
        """As `Decoder.forward`; float32."""
        x = skips[-1]
        for transpconv, stage, skip in zip(self.transpconvs, self.stages, skips[-2::-1], strict=True):
            x = torch.cat((transpconv(x), skip), dim=1)
            for block in stage.convs:
                x = _block(block, x)
        return x.float()


def _block(block: ConvBlock, x: Tensor) -> Tensor:
    return F.leaky_relu_(instance_norm(block.conv(x), block.norm), LEAK)
