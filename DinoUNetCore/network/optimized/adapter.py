"""The adapter with BatchNorms and level embeddings inside its convolutions, and no permuted copies of its maps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from DinoUNetCore.network.adapter import Adapter, ConvFFN, Extractor
from DinoUNetCore.network.optimized.deformable_attention import OptimizedDeformableAttention
from DinoUNetCore.network.optimized.layers import (
    Linear,
    channels_last,
    maps,
    pixels,
    prepared,
)

Size = tuple[int, int]


class OptimizedAdapter(nn.Module):
    """Takes over an adapter. Its norms and the layers that make its finest map are left to `OptimizedFAPM`, whose first
    layers do them too.
    """

    def __init__(self, adapter: Adapter, dtype: torch.dtype):
        super().__init__()
        spm = adapter.spm
        self.stem, self.conv2, self.conv3, self.conv4 = (
            prepared(_without_norms(part), dtype) for part in (spm.stem, spm.conv2, spm.conv3, spm.conv4)
        )
        self.projections = nn.ModuleList(
            Linear(layer.weight, layer.bias + embedding, dtype)
            for layer, embedding in zip((spm.fc2, spm.fc3, spm.fc4), adapter.level_embed, strict=True)
        )
        self.interactions = nn.ModuleList(
            nn.ModuleList(
                OptimizedExtractor(extractor, dtype)
                for extractor in (interaction.extractor, *interaction.extra_extractors)
            )
            for interaction in adapter.interactions
        )
        self.dtype = dtype

    def forward(self, image: Tensor, taps: list[Tensor]) -> list[tuple[Tensor, ...]]:
        """As `Adapter.forward`, before the norms; maps in channels_last memory.

        Of the finest map it gives what the map is made of, see `FinestBases.forward`.
        """
        image = channels_last(image).to(self.dtype)
        prior = found = self.stem(image)
        levels = []
        for conv, projection in zip((self.conv2, self.conv3, self.conv4), self.projections, strict=True):
            found = conv(found)
            levels.append(projection(pixels(found)))
        sizes = tuple(tuple(level.shape[1:3]) for level in levels)
        query = torch.cat([level.flatten(1, 2) for level in levels], dim=1).float()  # (B, N, dim)
        for extractors, tap in zip(self.interactions, taps, strict=True):
            size = tuple(tap.shape[2:])
            feature = pixels(channels_last(tap)).flatten(1, 2)  # (B, h * w, dim)
            for extractor in extractors:
                query = extractor(query, feature, size, sizes)
        levels = [
            maps(part.unflatten(1, size))
            for part, size in zip(query.split([h * w for h, w in sizes], 1), sizes, strict=True)
        ]
        sums = [
            level + F.interpolate(tap, size=level.shape[2:], mode="bilinear", align_corners=False)
            for level, tap in zip(levels, taps[1:], strict=True)
        ]
        return [(levels[0], prior, taps[0]), *((level,) for level in sums)]


class OptimizedExtractor(nn.Module):
    """Takes over an extractor."""

    def __init__(self, extractor: Extractor, dtype: torch.dtype):
        super().__init__()
        self.query_norm, self.feat_norm, self.ffn_norm = extractor.query_norm, extractor.feat_norm, extractor.ffn_norm
        self.attn = OptimizedDeformableAttention(extractor.attn, dtype)
        self.ffn: ConvFFN = prepared(extractor.ffn, dtype)
        self.dtype = dtype

    def forward(self, query: Tensor, feature: Tensor, size: Size, levels: tuple[Size, ...]) -> Tensor:
        """query: (B, N, dim) float32 over the levels, overwritten; feature: (B, h * w, dim) over `size`
        -> (B, N, dim) float32.
        """
        normed, feature = self.query_norm(query).to(self.dtype), self.feat_norm(feature).to(self.dtype)
        query += self.attn(normed, feature, size, levels)
        hidden = self.ffn.fc1(self.ffn_norm(query).to(self.dtype))
        parts = hidden.split([h * w for h, w in levels], dim=1)
        convolved = [
            pixels(channels_last(self.ffn.dwconv.dwconv(maps(part.unflatten(1, level))))).flatten(1, 2)
            for part, level in zip(parts, levels, strict=True)
        ]
        query += self.ffn.fc2(F.gelu(torch.cat(convolved, dim=1)))
        return query


def _without_norms(layers: nn.Sequential) -> nn.Sequential:
    """Convolutions that also do the BatchNorms after them."""
    result: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            result[-1] = fuse_conv_bn_eval(result[-1], layer)
        else:
            result.append(layer)
    return nn.Sequential(*result).requires_grad_(False)
