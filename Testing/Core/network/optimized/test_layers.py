"""Linear maps as oneDNN does them."""

import copy

import pytest
import torch
import torch.nn.functional as F

from DinoUNetCore.network.optimized.layers import Linear


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 24), (2, 7, 24), (1, 3, 9, 24)], ids=str)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), (torch.bfloat16, 5e-2), (torch.float64, 1e-12)],  # oneDNN does not pack the last
    ids=str,
)
def test_the_product_is_that_of_torch(dtype, tolerance, shape, has_bias):
    torch.manual_seed(0)
    weight, bias = torch.randn(10, 24, dtype=torch.float64), torch.randn(10, dtype=torch.float64) if has_bias else None
    x = torch.randn(shape, dtype=torch.float64)
    found = Linear(weight, bias, dtype)(x.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), F.linear(x, weight, bias), atol=tolerance, rtol=tolerance)


def test_the_input_may_lie_anyhow_in_memory():
    torch.manual_seed(0)
    weight, bias = torch.randn(10, 24), torch.randn(10)
    x = torch.randn(24, 3, 8)[:, :, ::2].permute(1, 2, 0)
    torch.testing.assert_close(Linear(weight, bias, torch.float32)(x), F.linear(x, weight, bias))


def test_the_weight_is_kept_once():
    layer = Linear(torch.randn(10, 24), None, torch.float32)
    kept = [tensor for tensor in vars(layer).values() if isinstance(tensor, torch.Tensor)] + list(layer.parameters())
    assert len(kept) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_copies_are_equal_and_their_own(dtype):
    torch.manual_seed(0)
    layer, x = Linear(torch.randn(10, 24), torch.randn(10), dtype), torch.randn(3, 24).to(dtype)
    copied = copy.deepcopy(torch.nn.Sequential(layer))
    assert torch.equal(copied(x), layer(x))
    expected = layer(x)
    with torch.no_grad():
        copied[0].bias.add_(1)
    assert torch.equal(layer(x), expected)


def test_it_can_be_brought_to_other_types_and_devices():
    torch.manual_seed(0)
    weight, bias, x = torch.randn(10, 24), torch.randn(10), torch.randn(3, 24)
    layer = Linear(weight, bias, torch.float32)
    short = layer.bfloat16()(x.bfloat16())
    torch.testing.assert_close(short, F.linear(x, weight, bias).bfloat16(), atol=5e-2, rtol=2e-2)
    assert layer.to("meta").weight.shape == (10, 24)


def test_autocast_around_it_changes_nothing():
    torch.manual_seed(0)
    layer, x = Linear(torch.randn(10, 24), torch.randn(10), torch.float32), torch.randn(3, 24)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), Linear(layer._packed.to_dense(), layer.bias, torch.float32)(x))
