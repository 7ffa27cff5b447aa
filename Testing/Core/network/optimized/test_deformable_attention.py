"""Bags of embeddings and `grid_sample` sum the same samples."""

import pytest
import torch

from DinoUNetCore.network.deformable_attention import DeformableAttention, cell_centres
from DinoUNetCore.network.optimized.deformable_attention import (
    SAFE_EXPONENT,
    OptimizedDeformableAttention,
    _summed_bags,
    _summed_samples,
)

LEVELS = ((8, 12), (4, 6), (2, 3))
SIZE = (4, 6)
HEADS, POINTS, WIDTH = 4, 4, 6
QUERIES = sum(h * w for h, w in LEVELS)


def samples(reach, batch=2, seed=0):
    """Values, and places up to `reach` cells outside the map."""
    torch.manual_seed(seed)
    values = torch.randn(batch, *SIZE, HEADS * WIDTH)
    x, y = (
        torch.rand(batch, QUERIES, HEADS * POINTS) * (length - 1 + 2 * reach) - reach for length in SIZE[::-1]
    )
    return values, x, y, torch.randn(batch, QUERIES, HEADS, POINTS)


@pytest.mark.parametrize("reach", [0.0, 0.9, 3.0, 1000.0], ids=lambda reach: f"{reach} cells outside")
def test_both_ways_agree(reach):
    values, x, y, weights = samples(reach)
    expected = _summed_samples(values, x.clone(), y.clone(), weights)
    found = _summed_bags(values, x.clone(), y.clone(), weights)
    assert found.shape == (2, QUERIES, HEADS * WIDTH)
    assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize("at", [-1.0, -0.5, 0.0, "last", "border", "outside"], ids=str)
def test_borders_are_met_exactly(at):
    values, x, y, weights = samples(0.0)
    for places, length in ((x, SIZE[1]), (y, SIZE[0])):
        places[:] = {"last": length - 1, "border": length - 0.5, "outside": length}.get(at, at)
    expected = _summed_samples(values, x.clone(), y.clone(), weights)
    found = _summed_bags(values, x, y, weights)
    assert (found - expected).abs().max() < 1e-5
    if at in (-1.0, "outside"):
        assert found.abs().max() == 0


@pytest.mark.parametrize("largest", [SAFE_EXPONENT, 1.01 * SAFE_EXPONENT, 1e4], ids=str)
@pytest.mark.parametrize("sign", [1, -1])
def test_large_weights_neither_overflow_nor_vanish(largest, sign):
    values, x, y, weights = samples(0.5)
    weights *= largest / weights.abs().max()
    weights[0, 0] = sign * largest  # of all points of a query
    expected = _summed_samples(values, x.clone(), y.clone(), weights)
    assert (_summed_bags(values, x, y, weights) - expected).abs().max() < 1e-5


def test_places_that_are_no_numbers_end_in_no_crash():
    values, x, y, weights = samples(0.5)
    x[0, 0, 0] = torch.nan
    y[0, 1, 0] = torch.inf
    found = _summed_bags(values, x, y, weights)
    assert torch.isnan(found[0, 0]).any()
    assert torch.isfinite(found[1]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_whole_attention_is_that_of_the_plain_one(dtype):
    torch.manual_seed(0)
    plain = DeformableAttention(48, heads=HEADS, points=POINTS).eval()
    for parameter in plain.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    query, feature = torch.randn(2, QUERIES, 48), torch.randn(2, SIZE[0] * SIZE[1], 48)
    reference = torch.cat([cell_centres(h, w) for h, w in LEVELS])
    with torch.inference_mode():
        expected = plain(query, reference, feature, SIZE)
        found = OptimizedDeformableAttention(plain, dtype)(query.to(dtype), feature.to(dtype), SIZE, LEVELS)
    assert (found.float() - expected).abs().max() < (1e-5 if dtype == torch.float32 else 0.1)
