"""The backbone without copies: what depends on the image's size alone is computed once."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from timm.models.eva import Eva, EvaAttention, EvaBlock
from torch import Tensor, nn

from DinoUNetCore.network.backbone import PATCH, Backbone
from DinoUNetCore.network.optimized.layers import constant, maps, prepared

PLAIN_TOKENS = 2048
"""With fewer, attention in a short type is faster on CPUs by plain matrix products than by PyTorch's fused kernel."""


class OptimizedBackbone(nn.Module):
    """Takes over a frozen backbone: the same features, in channels_last memory.

    The residual stream and the norms stay in float32; matrices are multiplied in `dtype`.
    """

    def __init__(self, backbone: Backbone, dtype: torch.dtype):
        super().__init__()
        self.vit: Eva = prepared(backbone.vit, dtype)
        self.taps = backbone.taps
        for block in self.vit.blocks:
            attention = block.attn
            if attention.q_bias is not None:
                biases = (attention.q_bias, attention.k_bias, attention.v_bias)
                attention.qkv.bias = constant(torch.cat(biases), dtype)
        # Not of the method itself: a cache of methods keeps every backbone alive.
        self._rotation = lru_cache(maxsize=4)(self._rotation_of)

    @property
    def dtype(self) -> torch.dtype:
        """Of the matrices."""
        return self.vit.patch_embed.proj.weight.dtype

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: (B, 3, H, W), H and W multiples of 16 -> one (B, dim, H/16, W/16) per tap."""
        vit = self.vit
        height, width = x.shape[2] // PATCH, x.shape[3] // PATCH
        patches = vit.patch_embed.proj(x.to(self.dtype)).flatten(2).transpose(1, 2).float()
        prefix = [token.expand(len(x), -1, -1) for token in (vit.cls_token, vit.reg_token)]
        tokens = torch.cat([*prefix, patches], dim=1)  # (B, N, dim)
        rotation = self._rotation(height, width)
        taps = []
        for index, block in enumerate(vit.blocks[: max(self.taps) + 1]):
            tokens = self._block(block, tokens, rotation)
            if index in self.taps:
                found = vit.norm(tokens[:, vit.num_prefix_tokens :])
                taps.append(maps(found.unflatten(1, (height, width))))
        return taps

    def _block(self, block: EvaBlock, tokens: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        attended = self._attention(block.attn, block.norm1(tokens).to(self.dtype), rotation)
        tokens = _add_scaled(tokens, attended, block.gamma_1)
        return _add_scaled(tokens, block.mlp(block.norm2(tokens).to(self.dtype)), block.gamma_2)

    def _attention(self, attention: EvaAttention, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        batch, count, dim = x.shape
        qkv = attention.qkv(x).view(batch, count, 3, attention.num_heads, -1)
        q, k = _rotate(qkv[:, :, :2], *rotation).unbind(1)
        attended = _attend(q, k, qkv[:, :, 2].transpose(1, 2))
        return attention.proj(attended.transpose(1, 2).reshape(batch, count, dim))

    def _rotation_of(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the rotary embedding, (N, 2, 1, d / 2), of queries and of keys; those of queries are
        divided by attention's temperature too. The tokens before the patches do not turn.
        """
        vit = self.vit
        sine, cosine = vit.rope.get_embed(shape=[height, width]).chunk(2, dim=-1)
        half = sine.shape[-1] // 2  # both halves of a head turn by the same angles
        table = []
        for angles, still in ((cosine, 1.0), (sine, 0.0)):
            of_keys = F.pad(angles[:, :half], (0, 0, vit.num_prefix_tokens, 0), value=still)
            table.append(torch.stack((of_keys / (2 * half) ** 0.5, of_keys), dim=1)[:, :, None])
        return table[0], table[1]


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """q, k, v: (B, heads, N, d), q divided by the temperature -> the same shape."""
    if q.device.type != "cpu" or q.dtype == torch.float32 or q.shape[2] > PLAIN_TOKENS:
        return F.scaled_dot_product_attention(q, k, v, scale=1.0)
    weights = q @ k.transpose(2, 3)
    torch.softmax(weights, dim=-1, out=weights)  # in place: of all steps this one touches the most memory
    return weights @ v


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """x: (B, N, 2, heads, d): each pair of coordinates i and i + d/2 turned by its token's angle
    -> (B, 2, heads, N, d), as products of matrices want it.
    """
    a, b = x.float().chunk(2, dim=-1)
    batch, count, two, heads, dim = x.shape
    result = torch.empty((batch, two, heads, count, dim), dtype=torch.float32, device=x.device)
    first, second = result.permute(0, 3, 1, 2, 4).chunk(2, dim=-1)
    torch.mul(a, cosine, out=first).addcmul_(b, sine, value=-1)
    torch.mul(b, cosine, out=second).addcmul_(a, sine)
    return result.to(x.dtype)


def _add_scaled(tokens: Tensor, update: Tensor, scale: Tensor | None) -> Tensor:
    """In place; all that was read of the tokens before is a copy."""
    return tokens.add_(update) if scale is None else tokens.addcmul_(update.float(), scale)
