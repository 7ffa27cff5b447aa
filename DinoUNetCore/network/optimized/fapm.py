"""FAPM with the adapter's norms inside, and its bases side by side."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DinoUNetCore.network.fapm import FAPM, LEAK, SqueezeExcitation
from DinoUNetCore.network.optimized.layers import (
    Linear,
    after_affine,
    after_linear,
    instance_norm,
    maps,
    norm_as_affine,
    pixels,
    prepared,
)


class OptimizedFAPM(nn.Module):
    """Takes over FAPM and the norms before it."""

    def __init__(self, fapm: FAPM, norms: list[nn.BatchNorm2d], dtype: torch.dtype):
        super().__init__()
        self.scales = nn.ModuleList(OptimizedScale(fapm, scale, norm, dtype) for scale, norm in enumerate(norms))

    def forward(self, pyramid: list[Tensor]) -> list[Tensor]:
        """pyramid: maps (B, dim, h_i, w_i) before their norms -> maps (B, features[i], h_i, w_i), channels last."""
        return [scale(level) for scale, level in zip(self.scales, pyramid, strict=True)]


class OptimizedScale(nn.Module):
    """FAPM on one map.

    FiLM is a linear map of the shared basis: one map straight from the input does both where that costs less, which is
    where the input is narrower than FiLM's output (512 channels in the paper).
    """

    def __init__(self, fapm: FAPM, scale: int, norm: nn.BatchNorm2d, dtype: torch.dtype):
        super().__init__()
        shared, specific, film = fapm.shared_basis, fapm.specific_bases[scale], fapm.film_generators[scale]
        rank, dim = shared.weight.shape[:2]
        self.rank = rank
        self.is_merged = dim < film.weight.shape[0]
        first = (shared.weight.flatten(1), shared.bias)
        if self.is_merged:
            first = after_linear(film.weight.flatten(1), film.bias, shared)
        weight = torch.cat([first[0], specific.weight.flatten(1)])
        bias = torch.cat([first[1], specific.bias])
        self.bases = Linear(*after_affine(weight, bias, *norm_as_affine(norm)), dtype)
        self.film = None if self.is_merged else Linear(film.weight, film.bias, dtype)

        refinement, shortcut = fapm.refinement_blocks[scale], fapm.shortcut_projections[scale]
        weights, biases = [refinement[0].weight], [refinement[0].bias]
        self.has_shortcut_layer = not isinstance(shortcut, nn.Identity)
        if self.has_shortcut_layer:
            weights.append(shortcut.weight)
            biases.append(shortcut.bias)
        self.channels = len(biases[0])
        self.first = Linear(torch.cat(weights), torch.cat(biases), dtype)
        self.norm, separable, last, self.gate = refinement[1], refinement[3], refinement[4], refinement[5]
        prepared(self.gate, dtype)
        self.depthwise = prepared(separable.depthwise, dtype)
        self.pointwise = Linear(separable.pointwise.weight, separable.pointwise.bias, dtype)
        self.second_norm = separable.bn
        self.last = Linear(last.weight, last.bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, dim, h, w) -> (B, features, h, w)."""
        bases = self.bases(pixels(x).to(self.bases.weight.dtype))
        if self.is_merged:
            gamma, beta, specific = bases.split(self.rank, dim=-1)
        else:
            shared, specific = bases.split(self.rank, dim=-1)
            gamma, beta = self.film(shared).chunk(2, dim=-1)
        z = torch.addcmul(beta, gamma, specific)
        first = self.first(z)
        refined = maps(first[..., : self.channels].contiguous())
        shortcut = first[..., self.channels :] if self.has_shortcut_layer else z
        refined = F.leaky_relu_(instance_norm(refined, self.norm), LEAK)
        refined = maps(self.pointwise(pixels(self.depthwise(refined))))
        refined = F.leaky_relu_(instance_norm(refined, self.second_norm), LEAK)
        refined = maps(self.last(pixels(refined)))
        return torch.addcmul(maps(shortcut), refined, _gate(self.gate, refined))


def _gate(gate: SqueezeExcitation, x: Tensor) -> Tensor:
    return gate.fc(x.mean(dim=(2, 3), keepdim=True))
