"""The adapter: a convolutional pyramid that draws on the backbone's features by deformable attention."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from DinoUNetCore.network.deformable_attention import DeformableAttention, cell_centres
from DinoUNetCore.network.spatial_prior import SpatialPriorModule, fan_out_normal

Size = tuple[int, int]


def _linear_init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@dataclass(frozen=True)
class Levels:
    """How the maps of several levels lie in one sequence of tokens.

    sizes: (h, w) of each level. memory_format: of the maps that convolutions get. It is the one
    in which the spatial prior's convolutions gave theirs: with plain NCHW weights the network rounds as the authors'
    does, to the bit, and with channels_last ones nothing is copied.
    """

    sizes: tuple[Size, ...]
    memory_format: torch.memory_format

    @classmethod
    def of(cls, maps: list[Tensor]) -> "Levels":
        memory_format = torch.contiguous_format if maps[0].is_contiguous() else torch.channels_last
        return cls(tuple((level.shape[2], level.shape[3]) for level in maps), memory_format)

    def maps(self, tokens: Tensor) -> list[Tensor]:
        """(B, sum of h*w, dim) -> one map (B, dim, h, w) per level."""
        parts = tokens.split([h * w for h, w in self.sizes], dim=1)
        maps = [part.transpose(1, 2).unflatten(2, size) for part, size in zip(parts, self.sizes, strict=True)]
        return [level.contiguous(memory_format=self.memory_format) for level in maps]


def tokens_of(maps: list[Tensor]) -> Tensor:
    """Maps (B, dim, h, w), one after the other, as tokens (B, sum of h*w, dim)."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)


class SharedDepthwiseConv(nn.Module):
    """One depthwise 3x3 convolution, applied apart to each level of a token sequence."""

    def __init__(self, dim: int):
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, tokens: Tensor, levels: Levels) -> Tensor:
        """tokens: (B, N, dim) over the levels -> the same shape."""
        return tokens_of([self.dwconv(level) for level in levels.maps(tokens)])


class ConvFFN(nn.Module):
    """Feed-forward network with a depthwise convolution between its two linear maps."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = SharedDepthwiseConv(hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor, levels: Levels) -> Tensor:
        return self.fc2(F.gelu(self.dwconv(self.fc1(tokens), levels)))


class Extractor(nn.Module):
    """One step in which the pyramid's tokens read from a backbone feature, followed by a ConvFFN."""

    def __init__(self, dim: int, heads: int, drop_path: float):
        super().__init__()
        self.query_norm = nn.LayerNorm(dim, eps=1e-6)
        self.feat_norm = nn.LayerNorm(dim, eps=1e-6)
        self.attn = DeformableAttention(dim, heads)
        self.ffn_norm = nn.LayerNorm(dim, eps=1e-6)
        self.ffn = ConvFFN(dim, dim // 4)
        self.drop_path = DropPath(drop_path)
        self.ffn.apply(_linear_init)

    def forward(self, query: Tensor, reference: Tensor, feature: Tensor, size: Size, levels: Levels) -> Tensor:
        """query: (B, N, dim) over the levels; feature: (B, h*w, dim) over `size` -> (B, N, dim)."""
        query = query + self.attn(self.query_norm(query), reference, self.feat_norm(feature), size)
        return query + self.drop_path(self.ffn(self.ffn_norm(query), levels))


class Interaction(nn.Module):
    """The extractors fed by one tap of the backbone: one of them, and two more (`extra`) after the last tap."""

    def __init__(self, dim: int, heads: int, drop_path: float, extra: int = 0):
        super().__init__()
        self.extractor = Extractor(dim, heads, drop_path)
        self.extra_extractors = nn.ModuleList(Extractor(dim, heads, drop_path) for _ in range(extra))

    def forward(self, query: Tensor, reference: Tensor, feature: Tensor, size: Size, levels: Levels) -> Tensor:
        for extractor in (self.extractor, *self.extra_extractors):
            query = extractor(query, reference, feature, size, levels)
        return query


class Adapter(nn.Module):
    """Turns image and backbone features into a four-level pyramid of the backbone's width.

    Reference: Dino U-Net, the adapter of the encoder; built from the extractors of ViT-Adapter (arXiv 2205.08534).
    """

    def __init__(self, dim: int, *, width: int = 64, heads: int = 16, drop_path: float = 0.3):
        super().__init__()
        self.spm = SpatialPriorModule(dim, width)
        self.level_embed = nn.Parameter(torch.randn(3, dim))
        self.interactions = nn.ModuleList(
            Interaction(dim, heads, drop_path, extra=2 if last else 0) for last in (False, False, False, True)
        )
        self.up = nn.ConvTranspose2d(dim, dim, 2, stride=2)
        self.up.apply(fan_out_normal)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.BatchNorm2d(dim) for _ in range(4))

    def forward(self, image: Tensor, taps: list[Tensor]) -> list[Tensor]:
        """image: (B, 3, H, W); taps: four backbone features (B, dim, H/16, W/16)
        -> four maps (B, dim, ...) at 1/4, 1/8, 1/16 and 1/32.
        """
        c1, c2, c3, c4 = self.spm(image)
        levels = Levels.of([c2, c3, c4])
        size = tuple(taps[0].shape[2:])
        reference = torch.cat([cell_centres(h, w, image.device) for h, w in levels.sizes])  # (N, 2)

        embedded = [
            level + embedding[:, None, None] for level, embedding in zip((c2, c3, c4), self.level_embed, strict=True)
        ]
        query = tokens_of(embedded)  # (B, N, dim), N = HW/64 + HW/256 + HW/1024
        for interaction, tap in zip(self.interactions, taps, strict=True):
            query = interaction(query, reference, tokens_of([tap]), size, levels)

        c2, c3, c4 = levels.maps(query)
        c1 = self.up(c2) + c1

        norms = (self.norm1, self.norm2, self.norm3, self.norm4)
        return [
            norm(level + F.interpolate(tap, size=level.shape[2:], mode="bilinear", align_corners=False))
            for norm, level, tap in zip(norms, (c1, c2, c3, c4), taps, strict=True)
        ]
