"""One transposed convolution per map does what upsampling, joining and convolving do."""

import pytest
import torch
from torch import nn

from DinoUNetCore.network.optimized.upsampled_convolution import UpsampledConvolution

CHANNELS = 6


def transposed(inputs, outputs):
    layer = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
    nn.init.normal_(layer.bias)  # as large as what the weights make
    return layer


def make_layers(layers_above, seed=0):
    """The convolution, the layers from the coarser map, and the two to the skip connection, which are one."""
    torch.manual_seed(seed)
    conv = nn.Conv2d(2 * CHANNELS, CHANNELS, 3, padding=1)
    beside = transposed(CHANNELS, CHANNELS)
    if layers_above == 1:
        above = [transposed(2 * CHANNELS, CHANNELS)]
    else:
        coarsest = transposed(2 * CHANNELS, 2 * CHANNELS)
        above = [coarsest, coarsest, transposed(2 * CHANNELS, CHANNELS)]
    return conv, above, [beside, beside]


def plainly(conv, above, beside, x, skip):
    for layer in above:
        x = layer(x)
    for layer in beside:
        skip = layer(skip)
    return conv(torch.cat((x, skip), dim=1))


@pytest.mark.parametrize("layers_above", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (4, 3)], ids=str)
def test_it_is_exact_up_to_the_border(layers_above, size):
    """size: of the coarsest map of the stage; (1, 1) has nothing but borders."""
    conv, above, beside = make_layers(layers_above)
    finer = 2 if layers_above == 3 else 1  # the skip connection's map, against the coarser map or half of it
    scale = 1 if layers_above == 3 else 2
    with torch.inference_mode():
        x = torch.randn(2, 2 * CHANNELS, *(scale * length for length in size))
        skip = torch.randn(2, CHANNELS, *(finer * length for length in size))
        expected = plainly(conv, above, beside, x, skip)
        found = UpsampledConvolution(conv, above, beside, torch.float32)(x, skip)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-5
    assert expected.std() > 0.1


def test_what_the_biases_make_is_there_without_any_input():
    conv, above, beside = make_layers(3)
    with torch.inference_mode():
        x, skip = torch.zeros(1, 2 * CHANNELS, 3, 3), torch.zeros(1, CHANNELS, 6, 6)
        expected = plainly(conv, above, beside, x, skip)
        found = UpsampledConvolution(conv, above, beside, torch.float32)(x, skip)
    assert (found - expected).abs().max() < 1e-5
    inside = expected[..., 4:-4, 4:-4]
    assert inside.std(dim=(2, 3)).max() > 0.1, "it is a pattern, not a number"
    assert (expected[..., 0, 4:-4] - expected[..., 4, 4:-4]).abs().max() > 0.1, "which differs at the border"


def test_matrices_are_kept_short():
    conv, above, beside = make_layers(1)
    short = UpsampledConvolution(conv, above, beside, torch.bfloat16)
    assert {parameter.dtype for parameter in short.parameters()} == {torch.bfloat16}
    x, skip = torch.randn(1, 2 * CHANNELS, 16, 16), torch.randn(1, CHANNELS, 8, 8)
    with torch.inference_mode():
        expected = plainly(conv, above, beside, x, skip)
        found = short(x.bfloat16(), skip.bfloat16())
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).square().mean().sqrt() < 0.02 * expected.std()
