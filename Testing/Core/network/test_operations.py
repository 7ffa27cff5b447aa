"""The structure's size: floating-point operations of a pass, counted where no tensor has values."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from DinoUNetCore.network.dino_unet import DinoUNet


@pytest.mark.parametrize(("variant", "gflop"), [("small", 161.7), ("base", 373.5), ("large", 943.0)])
def test_a_slice_takes_as_many_operations_as_in_the_authors_code(variant, gflop):
    counter = FlopCounterMode(display=False)  # it sees attention as products of matrices, not in a fused kernel
    with torch.inference_mode(), torch.device("meta"), counter, sdpa_kernel(SDPBackend.MATH):
        DinoUNet(variant, in_channels=1, num_classes=2).eval()(torch.empty(1, 1, 512, 512))
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflop, abs=0.05)
