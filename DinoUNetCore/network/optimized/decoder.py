"""The decoder with channels last, and no upsampled maps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DinoUNetCore.network.decoder import Decoder
from DinoUNetCore.network.fapm import LEAK
from DinoUNetCore.network.optimized.layers import instance_norm, prepared
from DinoUNetCore.network.optimized.upsampled_convolution import UpsampledConvolution

TENSOR_CORE_CHANNELS = 8
"""GPUs multiply short types fastest where this divides the number of channels."""


class OptimizedDecoder(nn.Module):
    """Takes over a decoder, and the upsampling before it (`Upsampling`)."""

    def __init__(self, decoder: Decoder, ups: nn.ModuleList, dtype: torch.dtype):
        super().__init__()
        above = [ups[-1], ups[-1], decoder.transpconvs[0]]
        self.firsts, self.first_norms, self.seconds = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for stage, up, transpconv in zip(decoder.stages, ups[-2::-1], [*decoder.transpconvs[1:], None], strict=True):
            first, second = stage.convs
            alignment = 1 if up.weight.device.type == "cpu" else TENSOR_CORE_CHANNELS
            self.firsts.append(UpsampledConvolution(first.conv, above, [up, up], dtype, alignment))
            self.first_norms.append(first.norm)
            self.seconds.append(prepared(second, dtype))
            above = [transpconv]
        self.head = decoder.head

    def forward(self, projected: list[Tensor]) -> Tensor:
        """projected: FAPM's maps, (B, features[i], h_i, w_i) at 1/4, 1/8, 1/16 and 1/32
        -> (B, features[0], H, W), the features before the head; float32.
        """
        x = projected[-1]
        for first, norm, second, skip in zip(
            self.firsts, self.first_norms, self.seconds, projected[-2::-1], strict=True
        ):
            x = _activated(first(x, skip), norm)
            x = _activated(second.conv(x), second.norm)
        return x.float()


def _activated(x: Tensor, norm: nn.InstanceNorm2d) -> Tensor:
    return F.leaky_relu_(instance_norm(x, norm), LEAK)
