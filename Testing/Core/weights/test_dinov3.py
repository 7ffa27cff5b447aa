"""Backbone weights from files made here in the public formats."""

import pytest
import safetensors.torch
import torch
from backbone_files import metas_form

from DinoUNetCore.errors import UserError
from DinoUNetCore.network.backbone import Backbone, ViTConfig
from DinoUNetCore.weights.dinov3 import ACCEPT_LICENSE, backbone_sha256, load_backbone

CONFIG = ViTConfig(dim=64, depth=2, heads=4)
TAPS = (0, 0, 1, 1)


@pytest.fixture
def source():
    torch.manual_seed(1)
    backbone = Backbone(CONFIG, TAPS).eval()
    for p in backbone.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return backbone


def test_timms_and_metas_files_give_the_same_backbone(source, tmp_path):
    safetensors.torch.save_file(source.vit.state_dict(), tmp_path / "timm.safetensors")
    torch.save(metas_form(source, source.rope_periods.clone()), tmp_path / "meta.pth")
    x = torch.randn(1, 3, 64, 64)
    for name in ("timm.safetensors", "meta.pth"):
        loaded = Backbone(CONFIG, TAPS)
        load_backbone(loaded, tmp_path / name, None)
        with torch.inference_mode():
            for ours, theirs in zip(loaded(x), source(x), strict=True):
                assert torch.equal(ours, theirs)
        assert backbone_sha256(loaded) == backbone_sha256(source)


def test_metas_rounded_periods_are_kept(source, tmp_path):
    periods = source.rope_periods.to(torch.bfloat16)
    torch.save(metas_form(source, periods), tmp_path / "meta.pth")
    loaded = Backbone(CONFIG, TAPS)
    load_backbone(loaded, tmp_path / "meta.pth", None)
    assert torch.equal(loaded.rope_periods, periods.float())
    assert not torch.equal(loaded.rope_periods, source.rope_periods)


def test_the_hash_sees_every_tensor(source):
    before = backbone_sha256(source)
    with torch.no_grad():
        source.vit.norm.bias[3] += 1e-3
    assert backbone_sha256(source) != before


class Attack:
    def __reduce__(self):
        return print, ("executed",)


def test_files_that_cannot_be_used_are_refused_by_name(source, tmp_path, capsys):
    other = Backbone(ViTConfig(dim=32, depth=2, heads=2), TAPS)
    safetensors.torch.save_file(other.vit.state_dict(), tmp_path / "other.safetensors")
    (tmp_path / "text.pth").write_text("hello", encoding="utf-8")
    torch.save({"a": Attack()}, tmp_path / "attack.pth")
    for name in ("other.safetensors", "text.pth", "attack.pth", "missing.pth"):
        with pytest.raises(UserError, match=name):
            load_backbone(Backbone(CONFIG, TAPS), tmp_path / name, None)
    assert "executed" not in capsys.readouterr().out


def test_nothing_is_downloaded_before_the_licence_is_accepted(monkeypatch, tmp_path):
    monkeypatch.delenv(ACCEPT_LICENSE, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="DINOv3 License"):
        load_backbone(Backbone(CONFIG, TAPS), "hub", "vit_small_patch16_dinov3_qkvb.lvd1689m")


def test_a_variant_without_public_weights_says_so():
    with pytest.raises(UserError, match="no public backbone weights"):
        load_backbone(Backbone(CONFIG, TAPS), "hub", None)
