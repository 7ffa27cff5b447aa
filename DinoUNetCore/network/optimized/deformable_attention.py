"""Deformable attention whose samples are looked up and summed at once."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DinoUNetCore.network.deformable_attention import DeformableAttention, cell_centres
from DinoUNetCore.network.optimized.layers import Linear, prepared

Size = tuple[int, int]
SAFE_EXPONENT = 80.0
"""Four exponentials of numbers up to this, and their sum, are finite and not zero in float32."""
MARGIN = 3  # zeros around the map: one row before it, and two after it for places that lie on its far border


class OptimizedDeformableAttention(nn.Module):
    """Takes over a deformable attention.

    What a head sees of a query is a weighted sum of 4 points x 4 neighbouring cells. On a CPU it is summed as four bags
    of 4 embeddings (`torch.nn.functional.embedding_bag`), whose table is the map with its channels last: `grid_sample`
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
        x, y, logits = self.offsets_and_weights(query).chunk(3, dim=-1)  # each (B, N, heads * points)
        reference_x, reference_y = reference_points(size, levels, query.device)
        x, y = x + reference_x, y + reference_y  # float32
        logits = logits.float().reshape(batch, count, self.heads, self.points)
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

    Steps that PyTorch does one by one along a short axis would take longer than all the others. There are none: all
    work on the whole of a tensor, or along the axis of heads * points.
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
    rows = torch.add(left, top, alpha=across).to(torch.int32)  # exact in float32 up to 2**24
    rows = rows.mul_(heads).add_(_first_rows(batch, down, across, heads, points, values.device)).view(-1, points)

    weights = _softmax(logits)
    below = weights * y
    above = weights.sub_(below)
    below_right, above_right = below * x, above * x
    corners = (above.sub_(above_right), above_right, below.sub_(below_right), below_right)
    summed = None
    for corner, step in zip(corners, (0, 1, across, across + 1), strict=True):
        shifted = table[step * heads :]
        part = F.embedding_bag(rows, shifted, mode="sum", per_sample_weights=corner.view(-1, points))
        summed = part if summed is None else summed.add_(part)
    return summed.view(batch, logits.shape[1], -1)


@lru_cache(maxsize=8)
def _first_rows(batch: int, down: int, across: int, heads: int, points: int, device: torch.device) -> Tensor:
    """(B, 1, heads * points) int32: the row of the table that holds the head's part of the cell (0, 0)."""
    image = torch.arange(batch, dtype=torch.int32, device=device)[:, None, None] * (down * across * heads)
    head = torch.arange(heads, dtype=torch.int32, device=device).repeat_interleave(points)
    return image + head + (across + 1) * heads


def _softmax(logits: Tensor) -> Tensor:
    """(B, N, heads, points) -> over the points, (B, N, heads * points)."""
    if torch.stack(logits.aminmax()).abs().max() > SAFE_EXPONENT:
        return logits.softmax(dim=-1).flatten(2)
    weights = logits.flatten(2).exp()
    return weights.div_(weights @ _same_head(*logits.shape[2:], logits.device))


@lru_cache(maxsize=8)
def _same_head(heads: int, points: int, device: torch.device) -> Tensor:
    """(heads * points, heads * points): 1 where both belong to one head."""
    return torch.block_diag(*torch.ones(heads, points, points, device=device))


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
