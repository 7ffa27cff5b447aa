"""FAPM with the adapter's norms inside, and its bases side by side."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DinoUNetCore.network.adapter import Adapter
from DinoUNetCore.network.fapm import FAPM, LEAK, SqueezeExcitation
from DinoUNetCore.network.optimized.finest import FinestBases
from DinoUNetCore.network.optimized.layers import (
    Linear,
    affine,
    after_affine,
    composed,
    instance_norm,
    maps,
    norm_as_affine,
    pixels,
    prepared,
    stacked,
)


class OptimizedFAPM(nn.Module):
    """Takes over FAPM, and of the adapter its norms and the layers that make its finest map."""

    def __init__(self, fapm: FAPM, adapter: Adapter, dtype: torch.dtype):
        super().__init__()
        finest = partial(FinestBases, up=adapter.up, prior=adapter.spm.fc1, dtype=dtype)
        others = partial(Bases, dtype=dtype)
        norms = (adapter.norm1, adapter.norm2, adapter.norm3, adapter.norm4)
        self.scales = nn.ModuleList(
            OptimizedScale(fapm, scale, norm, others if scale else finest, dtype) for scale, norm in enumerate(norms)
        )

    def forward(self, pyramid: list[tuple[Tensor, ...]]) -> list[Tensor]:
        """pyramid: what `OptimizedAdapter` makes -> maps (B, features[i], h_i, w_i), channels last."""
        return [scale(*parts) for scale, parts in zip(self.scales, pyramid, strict=True)]


class Bases(Linear):
    """The bases of a map."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, dim, h, w) -> (B, h, w, outputs)."""
        return super().forward(pixels(x).to(self.dtype))


class OptimizedScale(nn.Module):
    """FAPM on one map.

    FiLM is a linear map of the shared basis: one map straight from the input does both where that costs less, which is
    where the input is narrow. What FiLM adds goes on into linear layers alone, the first ones of refinement and
    shortcut: FiLM's layer does them too, and has their few channels instead of the rank's.

    Args:
        make_bases: makes the bases' layer of its weight (outputs, dim) and its bias.
    """

    def __init__(
        self,
        fapm: FAPM,
        scale: int,
        norm: nn.BatchNorm2d,
        make_bases: Callable[[Tensor, Tensor], nn.Module],
        dtype: torch.dtype,
    ):
        super().__init__()
        refinement, shortcut = fapm.refinement_blocks[scale], fapm.shortcut_projections[scale]
        self.rank, self.channels = fapm.shared_basis.out_channels, refinement[0].out_channels
        self.has_shortcut_layer = not isinstance(shortcut, nn.Identity)
        first, film = affine(refinement[0]), affine(fapm.film_generators[scale])
        if self.has_shortcut_layer:
            first = stacked(first, affine(shortcut))
            scaling, added = ([part[rows] for part in film] for rows in (slice(self.rank), slice(self.rank, None)))
            film = stacked(scaling, composed(first, added))
            first = first[0], None

        shared, specific = affine(fapm.shared_basis), affine(fapm.specific_bases[scale])
        self.film_channels = outputs = len(film[0])
        dim = fapm.shared_basis.in_channels
        self.is_merged = dim * outputs < self.rank * (dim + outputs)
        bases = stacked(composed(film, shared) if self.is_merged else shared, specific)
        self.bases = make_bases(*after_affine(*bases, *norm_as_affine(norm)))
        self.film = None if self.is_merged else Linear(*film, dtype)
        self.first = Linear(*first, dtype)

        self.norm, separable, last, self.gate = refinement[1], refinement[3], refinement[4], refinement[5]
        prepared(self.gate, dtype)
        self.depthwise = prepared(separable.depthwise, dtype)
        self.pointwise = Linear(*affine(separable.pointwise), dtype)
        self.second_norm = separable.bn
        self.last = Linear(*affine(last), dtype)

    def forward(self, *parts: Tensor) -> Tensor:
        """parts: what the bases' layer takes -> (B, features, h, w)."""
        bases = self.bases(*parts)
        if self.is_merged:
            film, specific = bases.split([self.film_channels, self.rank], dim=-1)
        else:
            shared, specific = bases.split(self.rank, dim=-1)
            film = self.film(shared)
        gamma, added = film.tensor_split([self.rank], dim=-1)
        if self.has_shortcut_layer:
            first, channels = self.first(gamma * specific), self.channels
            refined = first[..., :channels] + added[..., :channels]
            shortcut = first[..., channels:] + added[..., channels:]
        else:
            shortcut = torch.addcmul(added, gamma, specific)
            refined = self.first(shortcut)
        refined = F.leaky_relu_(instance_norm(maps(refined), self.norm), LEAK)
        refined = maps(self.pointwise(pixels(self.depthwise(refined))))
        refined = F.leaky_relu_(instance_norm(refined, self.second_norm), LEAK)
        refined = maps(self.last(pixels(refined)))
        return torch.addcmul(maps(shortcut), refined, _gate(self.gate, refined))


def _gate(gate: SqueezeExcitation, x: Tensor) -> Tensor:
    return gate.fc(x.mean(dim=(2, 3), keepdim=True))
