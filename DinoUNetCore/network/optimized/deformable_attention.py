"""Deformable attention whose samples are looked up and summed at once."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DinoUNetCore.network.deformable_attention import DeformableAttention, cell_centres
from DinoUNetCore.network.optimized.layers import Linear, prepared

Size = tuple[int, int]
MARGIN = 3  # zeros around the map: one row before it, and two after it for places that lie on its far border


class OptimizedDeformableAttention(nn.Module):
    """Takes over a deformable attention.

    What a head sees of a query is a weighted sum of 4 points x 4 neighbouring cells. On a CPU it is summed as a bag of
    16 embeddings (`torch.nn.functional.embedding_bag`), whose table is the map with its channels last: `grid_sample`
    works on maps that would have to be permuted before and after, and leaves all points to be weighted and summed.
    """

    def __init__(self, attention: DeformableAttention, dtype: torch.dtype):
        super().__init__()
        heads, points = self.heads, self.points = attention.heads, attention.points
        self.value_proj = prepared(attention.value_proj, dtype)
        self.output_proj = prepared(attention.output_proj, dtype)
        offsets, weights = attention.sampling_offsets, attention.attention_weights
        x_before_y = torch.arange(2 * heads * points).view(-1, 2).T.flatten().to(offsets.weight.device)
        self.offsets_and_weights = Linear(
            torch.cat([offsets.weight[x_before_y], weights.weight]),
            torch.cat([offsets.bias[x_before_y], weights.bias]),
            dtype,
        )

    def forward(self, query: Tensor, feature: Tensor, size: Size, levels: tuple[Size, ...]) -> Tensor:
        """query: (B, N, dim), the cells of maps of the sizes `levels`; feature: (B, h * w, dim); size: (h, w)
        -> (B, N, dim).
        """
        batch, count, _ = query.shape
        values = self.value_proj(feature).float().unflatten(1, size)  # (B, h, w, heads * d)
        x, y, logits = self.offsets_and_weights(query).float().chunk(3, dim=-1)  # each (B, N, heads * points)
        reference_x, reference_y = reference_points(size, levels, query.device)
        x, y = x + reference_x, y + reference_y
        logits = logits.view(batch, count, self.heads, self.points)
        look_up = _summed_bags if query.device.type == "cpu" else _summed_samples
        return self.output_proj(look_up(values, x, y, logits).to(query.dtype))


@lru_cache(maxsize=8)
def reference_points(size: Size, levels: tuple[Size, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """x and y, each (N, 1), of the cells of all levels, in cells of a map of `size` (the middle of its first is 0)."""
    height, width = size
    centres = torch.cat([cell_centres(h, w, device) for h, w in levels])
    return centres[:, :1] * width - 0.5, centres[:, 1:] * height - 0.5


def _summed_bags(values: Tensor, x: Tensor, y: Tensor, logits: Tensor) -> Tensor:
    """values: (B, h, w, heads * d); x, y: (B, N, heads * points) in cells; logits: (B, N, heads, points), of what each
    point weighs -> (B, N, heads * d). All float32; x and y are overwritten.
    """
    batch, height, width, _ = values.shape
    heads, points = logits.shape[2:]
    padded = F.pad(values, (0, 0, 1, MARGIN - 1, 1, MARGIN - 1))
    across, down = width + MARGIN, height + MARGIN
    table = padded.view(batch * down * across * heads, -1)
    x.clamp_(-1, width)  # what lies further outside is zero as well
    y.clamp_(-1, height)
    left, top = x.floor(), y.floor()
    x -= left
    y -= top
    cell = torch.add(left, top, alpha=across).to(torch.int32)  # exact in float32 up to 2**24
    cell = cell.view(batch, -1, heads, points).mul_(heads).add_(_first_rows(batch, down, across, heads, values.device))
    steps = (0, heads, across * heads, (across + 1) * heads)
    bags = torch.cat([cell + step for step in steps], dim=-1)  # (B, N, heads, 4 * points)

    weights = (logits - _largest(logits)[..., None]).exp_()
    x, y = x.view_as(weights), y.view_as(weights)
    below = weights * y
    above = weights - below
    of_corners = torch.empty(bags.shape, device=values.device)
    for part, corners in zip((above, below), of_corners.split(2 * points, dim=-1), strict=True):
        on_left, on_right = corners.split(points, dim=-1)
        torch.mul(part, x, out=on_right)
        torch.sub(part, on_right, out=on_left)
    shape = (-1, 4 * points)
    summed = F.embedding_bag(bags.view(shape), table, mode="sum", per_sample_weights=of_corners.view(shape))
    return summed.view(*logits.shape[:3], -1).div_(_sum(weights)[..., None]).flatten(2)


@lru_cache(maxsize=8)
def _first_rows(batch: int, down: int, across: int, heads: int, device: torch.device) -> Tensor:
    """(B, 1, heads, 1) int32: the row of the table that holds each head's part of the cell (0, 0)."""
    image = torch.arange(batch, dtype=torch.int32, device=device)[:, None, None, None] * (down * across * heads)
    return image + torch.arange(heads, dtype=torch.int32, device=device)[:, None] + (across + 1) * heads


def _largest(x: Tensor) -> Tensor:
    """Over the last axis, which is short: PyTorch's own reduction takes ten times as long there."""
    result = x[..., 0]
    for part in x.unbind(-1)[1:]:
        result = torch.maximum(result, part)
    return result


def _sum(x: Tensor) -> Tensor:
    """As `_largest`."""
    result = x[..., 0].clone()
    for part in x.unbind(-1)[1:]:
        result += part
    return result


def _summed_samples(values: Tensor, x: Tensor, y: Tensor, logits: Tensor) -> Tensor:
    """The same as `_summed_bags` by `grid_sample`, which GPUs are good at."""
    batch, height, width, _ = values.shape
    _, count, heads, points = logits.shape
    maps = values.unflatten(3, (heads, -1)).permute(0, 3, 4, 1, 2).reshape(batch * heads, -1, height, width)
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    grid = grid.view(batch, count, heads, points, 2).transpose(1, 2).reshape(batch * heads, count, points, 2)
    sampled = F.grid_sample(maps, grid, align_corners=False)  # (B * heads, d, N, points)
    weights = logits.softmax(dim=-1).transpose(1, 2).reshape(batch * heads, 1, count, points)
    return (sampled * weights).sum(dim=-1).view(batch, -1, count).transpose(1, 2)
