"""What FAPM's bases make of the adapter's finest map, without that map."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DinoUNetCore.network.optimized.layers import Linear, maps, pixels, prepared


class FinestBases(nn.Module):
    """The bases of the finest map, straight from the three that it is the sum of.

    All is linear up to here: the transposed convolution from the next coarser map, the spatial prior's projection, the
    interpolation of the backbone's feature, and the bases. So each of the three gets a layer that does both its own map
    and the bases; the feature is interpolated after its own. In the variant small that is 30 % fewer multiplications
    than by the layers one after the other.

    Args:
        weight, bias: of the bases, (outputs, dim) and (outputs,).
        up: the transposed convolution to the finest map.
        prior: the spatial prior's 1x1 convolution to the finest map.
    """

    def __init__(self, weight: Tensor, bias: Tensor, up: nn.ConvTranspose2d, prior: nn.Conv2d, dtype: torch.dtype):
        super().__init__()
        dim, outputs = up.weight.shape[0], len(weight)
        self.of_coarser = nn.ConvTranspose2d(dim, outputs, up.kernel_size, up.stride)
        self.of_coarser.weight = nn.Parameter(torch.einsum("om,imkl->iokl", weight, up.weight))
        self.of_coarser.bias = nn.Parameter(bias + weight @ (up.bias + prior.bias))
        prepared(self.of_coarser, dtype)
        self.of_prior = Linear(weight @ prior.weight.flatten(1), None, dtype)
        self.of_feature = Linear(weight, None, dtype)

    def forward(self, coarser: Tensor, prior: Tensor, feature: Tensor) -> Tensor:
        """coarser: (B, dim, h/2, w/2); prior: (B, C, h, w); feature: (B, dim, h/4, w/4) -> (B, h, w, outputs)."""
        dtype = self.of_coarser.weight.dtype
        result = self.of_coarser(coarser.to(dtype))
        feature = maps(self.of_feature(pixels(feature).to(dtype)))
        result += F.interpolate(feature, size=result.shape[2:], mode="bilinear", align_corners=False)
        return pixels(result).add_(self.of_prior(pixels(prior)))
