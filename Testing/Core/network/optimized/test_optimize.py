"""The rewritten network does what the plain one does."""

import copy

import pytest
import torch
from torch import nn

from DinoUNetCore.network.backbone import ViTConfig
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.ensemble import Ensemble
from DinoUNetCore.network.optimized import optimize
from DinoUNetCore.network.optimized.backbone import OptimizedBackbone
from DinoUNetCore.network.optimized.layers import Linear
from DinoUNetCore.network.variants import VARIANTS, Variant
from DinoUNetCore.weights.streaming import StreamedBlocks

NARROW = VARIANTS["tiny"]
# One level of the next two has as many channels as the rank: there FAPM's shortcut is no layer.
WIDE = Variant(
    ViTConfig(256, 4, 4, swiglu_align=8), (0, 1, 2, 3), attention_heads=4, fapm_rank=64, features=(8, 16, 32, 64)
)
NO_BIAS = Variant(
    ViTConfig(64, 4, 2, qkv_bias=False), (0, 1, 2, 3), spm_width=8, attention_heads=4, fapm_rank=32,
    features=(8, 8, 16, 32),
)


def make_network(variant=NARROW, in_channels=1, num_classes=3, seed=0):
    """A network none of whose parts is left out by zeros: as if trained."""
    torch.manual_seed(seed)
    network = DinoUNet(variant, in_channels, num_classes).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
            if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d | nn.LayerNorm):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.1)
        for name, parameter in network.named_parameters():
            if "gamma_" in name:
                parameter.uniform_(0.1, 0.5)
            elif "sampling_offsets" in name or "attention_weights" in name or name.endswith("bias"):
                parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def logits(network, image):
    with torch.inference_mode():
        return network.head(network.features(image).float())


@pytest.mark.parametrize("variant", [NARROW, WIDE, NO_BIAS], ids=["narrow", "wide", "no bias"])
@pytest.mark.parametrize("size", [(64, 64), (96, 160), (70, 45)], ids=str)
def test_the_outputs_are_those_of_the_plain_network(variant, size):
    network = make_network(variant)
    image = torch.randn(2, 1, *size)
    expected = logits(network, image)
    found = logits(optimize(network), image)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-4
    assert expected.std() > 0.1


def test_film_is_part_of_the_bases_where_that_costs_less():
    assert [scale.is_merged for scale in optimize(make_network(WIDE)).fapm.scales] == [True, False, False, False]
    assert [scale.is_merged for scale in optimize(make_network(NO_BIAS)).fapm.scales] == [True, True, False, False]


@pytest.mark.parametrize("channels", [2, 3, 5])
def test_any_number_of_channels_goes_in(channels):
    network = make_network(in_channels=channels)
    image = torch.randn(1, channels, 64, 96)
    expected = logits(network, image)
    assert (logits(optimize(network), image) - expected).abs().max() < 1e-4


def test_a_rewritten_network_can_be_copied():
    network = optimize(make_network())
    image = torch.randn(1, 1, 64, 64)
    assert torch.equal(logits(copy.deepcopy(network), image), logits(network, image))


def test_images_of_a_batch_have_nothing_to_do_with_each_other():
    network = optimize(make_network())
    images = torch.randn(3, 1, 64, 64)
    together = logits(network, images)
    apart = torch.cat([logits(network, image[None]) for image in images])
    assert (together - apart).abs().max() < 1e-5


def test_sizes_may_change_between_images():
    network = make_network()
    plain = copy.deepcopy(network)
    network = optimize(network)
    for size in ((64, 64), (128, 64), (64, 128), (64, 64)):
        image = torch.randn(1, 1, *size)
        assert (logits(network, image) - logits(plain, image)).abs().max() < 1e-4


@pytest.mark.parametrize("shares_backbone", [True, False])
@pytest.mark.parametrize("channels", [1, 4])
def test_an_ensemble_is_rewritten_with_all_its_members(shares_backbone, channels):
    members = [make_network(in_channels=channels, seed=seed) for seed in range(2)]
    if shares_backbone:
        members[1].backbone = members[0].backbone
    ensemble = Ensemble(members, shares_backbone).eval()
    image = torch.randn(1, channels, 64, 64)
    expected = logits(ensemble, image)
    rewritten = optimize(ensemble)
    assert (logits(rewritten, image) - expected).abs().max() < 1e-4
    assert all(isinstance(backbone, OptimizedBackbone) for backbone in rewritten.backbones)
    assert not rewritten.wants_autocast


def test_bfloat16_is_as_near_as_the_plain_network_under_autocast():
    network = make_network()
    image = torch.randn(2, 1, 128, 128)
    expected = logits(network, image)
    with torch.autocast("cpu", torch.bfloat16):
        autocast = logits(network, image)
    short = optimize(network, torch.bfloat16)
    found = logits(short, image)
    assert found.dtype == torch.float32 and short.dtype == torch.bfloat16
    error, usual = ((other - expected).square().mean().sqrt() for other in (found, autocast))
    assert error < 1.5 * usual
    assert 0 < usual < 0.1 * expected.std()


def test_a_network_that_was_loaded_short_stays_short():
    network = make_network()
    matrices = network.matrices()
    for name, parameter in network.named_parameters():
        if name in matrices:
            parameter.data = parameter.data.bfloat16()
    image = torch.randn(2, 1, 128, 128)
    with torch.autocast("cpu", torch.bfloat16):
        autocast = logits(network, image)
    expected = logits(copy.deepcopy(network).float(), image)
    short = optimize(network)
    kept_long = [
        name
        for name, module in short.named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | Linear) and dtype_of(module) == torch.float32
    ]
    assert kept_long == ["decoder.head"]
    error, usual = ((other - expected).square().mean().sqrt() for other in (logits(short, image), autocast))
    assert error < 1.5 * usual


def dtype_of(layer):
    return layer.dtype if isinstance(layer, Linear) else layer.weight.dtype


def test_every_layer_can_be_watched():
    network = optimize(make_network())
    called = []
    for module in network.modules():
        module.register_forward_pre_hook(lambda module, _: called.append(type(module).__name__))
    logits(network, torch.randn(1, 1, 64, 64))
    depth = NARROW.vit.depth
    assert called.count("Linear") > 4 * depth + 20
    assert called.count("Conv2d") > 20


def test_nothing_takes_a_gradient_afterwards():
    network = optimize(make_network())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not network.training


def test_a_backbone_whose_blocks_come_from_elsewhere_stays_as_it_is():
    network = make_network()
    image = torch.randn(1, 1, 64, 96)
    expected = logits(network, image)
    blocks = [
        {name: tensor.detach().clone() for name, tensor in block.named_parameters()}
        for block in network.backbone.vit.blocks
    ]
    backbone = network.backbone
    StreamedBlocks(backbone.vit.blocks, lambda index: blocks[index], torch.device("cpu"))
    found = logits(optimize(network), image)
    assert network.backbone is backbone
    assert (found - expected).abs().max() < 1e-4
