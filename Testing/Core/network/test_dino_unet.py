"""The network as a whole: sizes, channels, what is trained, and how it begins."""

import math

import pytest
import torch
from torch import nn

from DinoUNetCore.network.deformable_attention import DeformableAttention, cell_centres
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.variants import VARIANTS, Variant

# DINO_UNET.md: trainable parameters of the authors' code with 2 classes, and timm's count of the frozen backbone
COUNTS = {
    "small": (6_194_948, 21_596_160),
    "base": (13_182_020, 85_659_648),
    "large": (19_969_988, 303_128_576),
    "7b": (234_332_612, 6_716_030_976),
}


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return DinoUNet("tiny", in_channels=1, num_classes=3).eval()


@pytest.mark.parametrize("variant", COUNTS)
def test_parameter_counts_equal_the_authors(variant):
    with torch.device("meta"):
        network = DinoUNet(variant, in_channels=1, num_classes=2)
    counts = [sum(p.numel() for p in network.parameters() if p.requires_grad is grad) for grad in (True, False)]
    assert tuple(counts) == COUNTS[variant]


@pytest.mark.parametrize("variant", [name for name in VARIANTS if VARIANTS[name].timm_model])
def test_backbones_have_the_tensors_of_timms_public_models(variant):
    import timm

    with torch.device("meta"):
        ours = DinoUNet(variant).backbone.vit.state_dict()
        theirs = timm.create_model(VARIANTS[variant].timm_model.split(".")[0], num_classes=0).state_dict()
    assert {name: t.shape for name, t in ours.items()} == {name: t.shape for name, t in theirs.items()}


def test_a_variant_survives_json():
    for variant in VARIANTS.values():
        assert Variant.from_json(variant.to_json()) == variant


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (32, 32), (1, 1), (70, 45), (33, 200)])
def test_any_size_gives_logits_of_that_size(tiny, size):
    with torch.inference_mode():
        assert tiny(torch.randn(2, 1, *size)).shape == (2, 3, *size)


def test_padding_repeats_the_border_around_the_image(tiny):
    x = torch.randn(1, 1, 70, 90)
    padded = torch.nn.functional.pad(x, (3, 3, 13, 13), mode="replicate")
    with torch.inference_mode():
        torch.testing.assert_close(tiny(x), tiny(padded)[:, :, 13:83, 3:93])


def test_one_and_two_channels_follow_the_authors_rule_without_parameters():
    torch.manual_seed(0)
    three = DinoUNet("tiny", in_channels=3).eval()
    x = torch.randn(1, 2, 64, 64)
    for channels, order in ((1, [0, 0, 0]), (2, [0, 1, 0])):
        network = DinoUNet("tiny", in_channels=channels).eval()
        assert set(network.state_dict()) == set(three.state_dict())
        network.load_state_dict(three.state_dict())
        with torch.inference_mode():
            assert torch.equal(network(x[:, :channels]), three(x[:, order]))


def test_five_channels_start_as_means_of_every_third_and_are_learned():
    network = DinoUNet("tiny", in_channels=5)
    x = torch.randn(2, 5, 64, 64)
    expected = torch.stack([(x[:, 0] + x[:, 3]) / 2, (x[:, 1] + x[:, 4]) / 2, x[:, 2]], dim=1)
    torch.testing.assert_close(network.channel_projection(x), expected)
    network(x).square().mean().backward()
    assert network.channel_projection.weight.grad.abs().min() > 0


def test_a_wrong_number_of_channels_is_refused(tiny):
    with pytest.raises(ValueError, match=r"expected \(B, 1, H, W\)"):
        tiny(torch.randn(1, 2, 64, 64))
    with pytest.raises(ValueError, match="unknown variant"):
        DinoUNet("smal")
    with pytest.raises(ValueError, match="1 output"):
        DinoUNet("tiny", num_classes=0)


def test_the_head_may_run_by_rows_and_commutes_with_averaging(tiny):
    x = torch.randn(2, 1, 64, 96)
    with torch.inference_mode():
        features = tiny.features(x)
        torch.testing.assert_close(tiny(x), torch.cat([tiny.head(part) for part in features.split(10, dim=2)], dim=2))
        torch.testing.assert_close(tiny.head(features).mean(0), tiny.head(features.mean(0, keepdim=True))[0])


def test_a_frozen_backbone_stays_in_eval_mode_and_takes_no_gradient():
    network = DinoUNet("tiny", train_backbone=False)
    for call in (network.train, lambda: network.train(True), network.backbone.train, lambda: network.eval().train()):
        call()
        assert not any(module.training for module in network.backbone.modules())
    assert network.adapter.training
    network(torch.randn(2, 1, 64, 64)).sum().backward()
    assert all(p.grad is None for p in network.backbone.parameters())
    assert network.adapter.spm.fc1.weight.grad is not None


def test_only_tiny_trains_its_backbone_by_itself_and_others_on_request():
    with torch.device("meta"):
        assert DinoUNet("tiny").backbone.trainable
        assert not DinoUNet("small").backbone.trainable
        asked = DinoUNet("small", train_backbone=True).train()
    assert asked.backbone.training and all(p.requires_grad for p in asked.backbone.vit.parameters())


def test_every_part_of_a_trained_along_network_learns():
    torch.manual_seed(0)
    network = DinoUNet("tiny", num_classes=3).train()
    network(torch.randn(2, 1, 64, 64)).square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None]
    # the coarser heads serve deep supervision, and the class token's path ends at the last block
    assert all(name.startswith(("decoder.seg_layers.0", "decoder.seg_layers.1")) for name in silent)


def test_deformable_attention_starts_as_rings_around_the_reference():
    attention = DeformableAttention(64, heads=16, points=4)
    ring = attention.sampling_offsets.bias.detach().view(16, 4, 2)
    torch.testing.assert_close(ring[:, 3], 4 * ring[:, 0])
    assert ring[:, 0].abs().amax(dim=-1).eq(1).all()
    angles = torch.atan2(ring[:, 0, 1], ring[:, 0, 0]) % (2 * math.pi)
    torch.testing.assert_close(angles, torch.arange(16) * (2 * math.pi / 16), atol=1e-5, rtol=0)
    assert attention.attention_weights.weight.abs().max() == attention.sampling_offsets.weight.abs().max() == 0


def test_deformable_attention_reads_where_its_offsets_point():
    attention = DeformableAttention(8, heads=1, points=1)
    with torch.no_grad():
        for linear in (attention.value_proj, attention.output_proj):
            linear.weight.zero_()
            linear.weight[:4, :4] = torch.eye(4)
        attention.sampling_offsets.bias.copy_(torch.tensor([1.0, 0.0]))  # one cell to the right
    feature = torch.randn(1, 3 * 4, 8)
    reference = cell_centres(3, 4)
    read = attention(torch.randn(1, 12, 8), reference, feature, (3, 4)).view(3, 4, 8)[..., :4]
    cells = feature.view(3, 4, 8)[..., :4]
    torch.testing.assert_close(read[:, :3], cells[:, 1:])
    assert read[:, 3].abs().max() == 0  # zeros beyond the map


def test_convolutions_of_the_spatial_prior_start_with_fan_out_normal():
    torch.manual_seed(0)
    spm = DinoUNet("small").adapter.spm
    weight = spm.conv3[0].weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 256)), rel=0.02)
    assert all(m.bias is None for m in spm.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3))
