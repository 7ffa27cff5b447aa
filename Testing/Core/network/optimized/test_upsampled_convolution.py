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
@pytest.mark.parametrize("alignment", [1, 8])
def test_it_is_exact_up_to_the_border(layers_above, size, alignment):
    """size: of the coarser map of the two; of (1, 1) all is border."""
    conv, above, beside = make_layers(layers_above)
    of_map, of_skip = (1, 2) if layers_above == 3 else (2, 1)  # times as large as the coarsest
    with torch.inference_mode():
        x = torch.randn(2, 2 * CHANNELS, *(of_map * length for length in size))
        skip = torch.randn(2, CHANNELS, *(of_skip * length for length in size))
        expected = plainly(conv, above, beside, x, skip)
        found = UpsampledConvolution(conv, above, beside, torch.float32, alignment)(x, skip)
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


@pytest.mark.parametrize(("alignment", "channels"), [(1, CHANNELS + 1), (8, 8), (2, CHANNELS + 2)])
def test_channels_may_have_to_be_a_multiple_of_something(alignment, channels):
    assert UpsampledConvolution(*make_layers(1), torch.float32, alignment).of_skip.in_channels == channels


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
