"""Where a backbone's public weights come from, and which files are refused."""

import json
import pickle
from dataclasses import replace

import pytest
import torch
from backbone_files import metas_form, transformers_form
from safetensors.torch import save_file

from DinoUNetCore.errors import UserError
from DinoUNetCore.network.backbone import Backbone, ViTConfig
from DinoUNetCore.weights.backbone_weights import BackboneWeights, save_backbone
from DinoUNetCore.weights.dinov3 import backbone_sha256, find_backbone, in_compute_dtype, load_backbone
from DinoUNetCore.weights.license import VARIABLE, LicenseNotAccepted
from DinoUNetCore.weights.tensors import assign_tensor

CONFIG = ViTConfig(dim=64, depth=2, heads=4)
TAPS = (0, 0, 1, 1)
SMALL = "vit_small_patch16_dinov3_qkvb.lvd1689m"


@pytest.fixture
def source():
    torch.manual_seed(1)
    backbone = Backbone(CONFIG, TAPS).eval()
    for p in backbone.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return backbone


def same(first: Backbone, second: Backbone) -> bool:
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        return all(torch.equal(a, b) for a, b in zip(first(x), second(x), strict=False))


def test_sharded_weights_are_read_from_their_folder_or_index(source, tmp_path):
    state, places = transformers_form(source), {}
    for number, names in enumerate((list(state)[::2], list(state)[1::2]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: state[name] for name in names}, tmp_path / file)
        places |= dict.fromkeys(names, file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}), encoding="utf-8")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    for path in (tmp_path, index):
        loaded = Backbone(CONFIG, TAPS).eval()
        load_backbone(loaded, BackboneWeights(path))
        assert same(loaded, source)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match="lacks model-00002-of-00002"):
        BackboneWeights(tmp_path)


def test_the_form_is_told_by_the_content_not_by_the_name(source, tmp_path):
    torch.save(metas_form(source, source.rope_periods.clone()), tmp_path / "a.safetensors")
    save_file(source.vit.state_dict(), tmp_path / "b.pth")
    save_file({f"dinov3_vit.{name}": tensor for name, tensor in transformers_form(source).items()}, tmp_path / "c")
    torch.save(metas_form(source, source.rope_periods), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name, form in (("a.safetensors", "Meta"), ("b.pth", "timm"), ("c", "transformers"), ("old.pth", "Meta")):
        weights, loaded = BackboneWeights(tmp_path / name), Backbone(CONFIG, TAPS).eval()
        load_backbone(loaded, weights)
        assert weights.form == form
        assert same(loaded, source)


def test_matrices_in_a_short_dtype_give_what_autocast_gives(source, tmp_path):
    save_file(source.vit.state_dict(), tmp_path / "timm.safetensors")
    short, x = Backbone(CONFIG, TAPS).eval(), torch.randn(1, 3, 64, 96)
    load_backbone(short, BackboneWeights(tmp_path / "timm.safetensors"), dtype=torch.bfloat16)
    assert short.dtype == torch.bfloat16
    with torch.inference_mode():
        with torch.autocast("cpu", torch.bfloat16):
            expected = source(x)
        assert all(torch.equal(a, b) for a, b in zip(short(x), expected, strict=True))
    assert short.loaded_sha256 == backbone_sha256(source)  # of the file's values


def test_the_hash_sees_every_tensor(source):
    before = backbone_sha256(source)
    with torch.no_grad():
        source.vit.norm.bias[3] += 1e-3
    assert backbone_sha256(source) != before


def test_a_saved_backbone_is_the_same_in_parts_and_with_periods_and_licence(tmp_path, monkeypatch):
    monkeypatch.setattr("DinoUNetCore.weights.backbone_weights.LARGEST_FILE", 20_000_000)
    config = replace(ViTConfig(384, 12, 6))
    torch.manual_seed(1)
    small = Backbone(config, (11,)).eval()
    (tmp_path / "in").mkdir()
    periods = small.rope_periods.bfloat16()
    torch.save(metas_form(small, periods), tmp_path / "in" / "meta.pth")
    (tmp_path / "in" / "LICENSE.md").write_text("The DINOv3 License", encoding="utf-8")
    weights = BackboneWeights(tmp_path / "in")
    save_backbone(weights, tmp_path / "out")
    again = BackboneWeights(tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "backbone.json").read_text(encoding="utf-8"))
    assert len([name for name in facts["files"] if name.endswith(".safetensors")]) > 2
    assert again.sha256() == weights.sha256() == facts["sha256"] == backbone_sha256(small)
    assert facts["variant"] == again.variant() == "small"
    assert torch.equal(again.periods, periods.float())
    assert [path.name for path in again.licenses] == ["LICENSE.md"]


class Attack:
    def __reduce__(self):
        return print, ("executed",)


def test_files_that_cannot_be_used_are_refused_by_name(source, tmp_path, capsys):
    other = Backbone(ViTConfig(dim=32, depth=2, heads=2), TAPS)
    save_file(other.vit.state_dict(), tmp_path / "other.safetensors")
    save_file({"weight": torch.zeros(3)}, tmp_path / "unrelated.safetensors")
    save_file(source.vit.state_dict(), tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    torch.save(metas_form(source, source.rope_periods), tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:20_000])
    (tmp_path / "text.pth").write_text("hello", encoding="utf-8")
    (tmp_path / "empty.pth").write_bytes(b"")
    torch.save({"reg_token": Attack()}, tmp_path / "attack.pth")
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps({"reg_token": Attack()}))
    (tmp_path / "folder").mkdir()
    without = {name: tensor for name, tensor in source.vit.state_dict().items() if not name.endswith("_bias")}
    save_file(without, tmp_path / "biasless.safetensors")
    names = ("other.safetensors", "unrelated.safetensors", "cut.safetensors", "cut.pth", "text.pth", "empty.pth")
    for name in (*names, "attack.pth", "pickle.pth", "folder", "missing.pth", "biasless.safetensors"):
        with pytest.raises(UserError, match=name):
            load_backbone(Backbone(CONFIG, TAPS), BackboneWeights(tmp_path / name))
    with pytest.raises(UserError, match="_qkvb"):
        load_backbone(Backbone(CONFIG, TAPS), BackboneWeights(tmp_path / "biasless.safetensors"))
    assert "executed" not in capsys.readouterr().out


def test_an_index_reaches_no_files_elsewhere(source, tmp_path):
    save_file(source.vit.state_dict(), tmp_path / "secret.safetensors")
    (tmp_path / "in").mkdir()
    index = tmp_path / "in" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"reg_token": "../secret.safetensors"}}), encoding="utf-8")
    with pytest.raises(UserError, match="no index of weights"):
        BackboneWeights(tmp_path / "in")


def test_nothing_is_downloaded_before_the_licence_is_accepted(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("DINOUNET_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr("DinoUNetCore.weights.license._accepted_here", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for source in ("hub", "vit_large_patch16_dinov3_qkvb.sat493m"):
        with pytest.raises(LicenseNotAccepted, match="DINOv3 License"):
            find_backbone(source, SMALL)


def test_a_variant_without_public_weights_says_so():
    with pytest.raises(UserError, match="no public backbone weights"):
        find_backbone("hub", None)


def test_only_matrices_are_shortened():
    assert in_compute_dtype("blocks.0.attn.qkv.weight", torch.zeros(3, 2), torch.bfloat16).dtype == torch.bfloat16
    for name, shape in (("blocks.0.norm1.weight", (2,)), ("cls_token", (1, 1, 2)), ("reg_token", (1, 4, 2))):
        assert in_compute_dtype(name, torch.zeros(shape, dtype=torch.bfloat16), torch.bfloat16).dtype == torch.float32


def test_a_tensor_takes_the_place_of_a_parameter():
    with torch.device("meta"):
        layer = torch.nn.Linear(2, 3)
    weight = torch.ones(3, 2)
    assign_tensor(layer, "weight", weight)
    assert layer.weight.data_ptr() == weight.data_ptr()
    assert isinstance(layer.weight, torch.nn.Parameter)
