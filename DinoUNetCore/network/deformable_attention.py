"""Deformable attention: every query looks at a few learned places of one feature map."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def cell_centres(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Centres of the cells of a height x width grid, row by row: (height * width, 2) as (x, y) in 0..1."""
    y = (torch.arange(height, dtype=torch.float32, device=device) + 0.5) / height
    x = (torch.arange(width, dtype=torch.float32, device=device) + 0.5) / width
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((x.flatten(), y.flatten()), dim=-1)


class DeformableAttention(nn.Module):
    """Single-level deformable attention whose values are half as wide as its queries.

    Reference: Deformable DETR, arXiv 2010.04159, section 4.1; sampling by `grid_sample`, zeros outside the map.
    """

    def __init__(self, dim: int, heads: int = 16, points: int = 4):
        super().__init__()
        value_dim = dim // 2
        if value_dim % heads:
            raise ValueError(f"{heads} attention heads do not divide {value_dim} value channels")
        self.heads = heads
        self.points = points
        self.sampling_offsets = nn.Linear(dim, heads * points * 2)
        self.attention_weights = nn.Linear(dim, heads * points)
        self.value_proj = nn.Linear(dim, value_dim)
        self.output_proj = nn.Linear(value_dim, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """At the start every head looks in its own direction, and its points lie 1, 2, ... cells away."""
        angles = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        directions = torch.stack((angles.cos(), angles.sin()), dim=-1)
        directions = directions / directions.abs().amax(dim=-1, keepdim=True)
        distances = torch.arange(1, self.points + 1, dtype=torch.float32)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_((directions[:, None, :] * distances[None, :, None]).flatten())
        for zeroed in (self.sampling_offsets.weight, self.attention_weights.weight, self.attention_weights.bias):
            nn.init.zeros_(zeroed)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, query: Tensor, reference: Tensor, feature: Tensor, size: tuple[int, int]) -> Tensor:
        """query: (B, N, dim); reference: (N, 2), each query's place as (x, y) in 0..1; feature: (B, h * w, dim);
        size: (h, w) -> (B, N, dim).
        """
        batch, count, _ = query.shape
        height, width = size
        heads, points = self.heads, self.points

        values = self.value_proj(feature)  # (B, hw, dim/2)
        values = values.transpose(1, 2).reshape(batch * heads, -1, height, width)  # (B*heads, d, h, w)

        offsets = self.sampling_offsets(query).view(batch, count, heads, points, 2)
        scale = torch.tensor((width, height), dtype=offsets.dtype, device=offsets.device)
        places = reference[None, :, None, None, :] + offsets / scale  # 0..1
        grid = (2 * places - 1).transpose(1, 2).reshape(batch * heads, count, points, 2)
        # places need float32 also under autocast: bfloat16 knows them to a thirtieth of a cell only
        sampled = F.grid_sample(values.float(), grid.float(), align_corners=False)  # (B*heads, d, N, points)

        weights = self.attention_weights(query).view(batch, count, heads, points).softmax(dim=-1)
        weights = weights.transpose(1, 2).reshape(batch * heads, 1, count, points)
        attended = (sampled * weights).sum(dim=-1)  # (B*heads, d, N)
        attended = attended.view(batch, -1, count).transpose(1, 2)  # (B, N, dim/2)
        return self.output_proj(attended)
