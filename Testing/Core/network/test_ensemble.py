"""Ensembles: the mean of their members' logits, with a shared backbone that runs once."""

from dataclasses import replace

import pytest
import torch
from random_bundle import SIZES

from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.ensemble import Ensemble


def make_members(count=3, channels=1, same_backbone=False):
    members = []
    for seed in range(count):
        torch.manual_seed(seed)
        members.append(DinoUNet(SIZES, channels, 4, train_backbone=False).eval())
        if same_backbone:
            members[seed].backbone.load_state_dict(members[0].backbone.state_dict())
    return members


@torch.inference_mode()
def mean_logits(members, x):
    return torch.stack([member(x) for member in members]).mean(dim=0)


@pytest.mark.parametrize("same_backbone", [False, True])
@pytest.mark.parametrize("channels", [1, 5])
def test_an_ensembles_logits_are_the_mean_of_its_members(channels, same_backbone):
    members = make_members(channels=channels, same_backbone=same_backbone)
    x = torch.randn(2, channels, 70, 96)
    expected = mean_logits(members, x)
    with torch.inference_mode():
        logits = Ensemble(members, same_backbone)(x)
    torch.testing.assert_close(logits, expected, rtol=0, atol=2e-6 * float(expected.abs().max()))


def test_averaging_features_is_averaging_logits():
    ensemble = Ensemble(make_members(), False)
    with torch.inference_mode():
        features = ensemble.features(torch.randn(2, 1, 64, 64))
        mean_of_logits = ensemble.head(features).mean(dim=0)
        logits_of_mean = ensemble.head(features.mean(dim=0, keepdim=True))[0]
    torch.testing.assert_close(logits_of_mean, mean_of_logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("channels", "passes"), [(1, 1), (3, 1), (5, 3)])
def test_a_shared_backbone_runs_once_unless_the_members_show_it_different_images(channels, passes):
    ensemble = Ensemble(make_members(channels=channels, same_backbone=True), True)
    calls = []
    ensemble.backbone.register_forward_hook(lambda *_: calls.append(1))
    with torch.inference_mode():
        ensemble(torch.randn(2, channels, 64, 64))
    assert len(calls) == passes


def test_a_shared_backbone_is_held_once():
    one = make_members(1)[0]
    size = sum(tensor.numel() for tensor in one.state_dict().values())
    backbone = sum(tensor.numel() for tensor in one.backbone.state_dict().values())
    shared, apart = Ensemble(make_members(), True), Ensemble(make_members(), False)
    assert sum(tensor.numel() for tensor in shared.state_dict().values()) == 3 * size - 2 * backbone
    assert sum(tensor.numel() for tensor in apart.state_dict().values()) == 3 * size
    assert (len(shared.backbones), len(apart.backbones)) == (1, 3)


def test_what_may_be_kept_short_is_what_may_be_in_the_members():
    names = {f"members.{index}.{name}" for index in range(3) for name in make_members(1)[0].matrices()}
    assert Ensemble(make_members(), False).matrices() == names
    shared = {name for name in names if ".backbone." not in name}
    shared |= {name.removeprefix("members.0.") for name in names if name.startswith("members.0.backbone.")}
    assert Ensemble(make_members(), True).matrices() == shared


def test_networks_of_other_sizes_are_no_members():
    other = DinoUNet(replace(SIZES, fapm_rank=16), 1, 4)
    for members in ([], [*make_members(1), other], [*make_members(1), DinoUNet(SIZES, 1, 3)]):
        with pytest.raises(ValueError, match="members"):
            Ensemble(members, False)
