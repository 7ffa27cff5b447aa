"""The same weights in the three public forms, in full size, give the same network."""

import shutil
from dataclasses import replace

import pytest
import timm
import torch
from backbone_files import metas_form, transformers_form
from safetensors.torch import save_file
from timm.models.eva import checkpoint_filter_fn

from DinoUNetCore.network.backbone import Backbone
from DinoUNetCore.network.variants import VARIANTS
from DinoUNetCore.weights.backbone_weights import BackboneWeights
from DinoUNetCore.weights.dinov3 import fill_buffers, load_backbone
from DinoUNetCore.weights.tensors import assign_tensor

SHALLOW = {"huge_plus": 2, "7b": 1}  # blocks of the true width
PUBLIC = [name for name, variant in VARIANTS.items() if variant.timm_model]


@pytest.fixture(scope="module", params=PUBLIC)
def public(request, tmp_path_factory):
    """A backbone with random weights, the files of them, a picture, and what the backbone says to it."""
    name = request.param
    config, taps = VARIANTS[name].vit, VARIANTS[name].taps
    if name in SHALLOW:
        config, taps = replace(config, depth=SHALLOW[name]), tuple(range(SHALLOW[name]))
    with torch.device("meta"):
        backbone = Backbone(config, taps).eval()
    torch.manual_seed(1)
    for key, tensor in backbone.vit.state_dict().items():
        width = 0.06 if tensor.ndim > 1 else 0.2
        assign_tensor(backbone.vit, key, torch.empty(tensor.shape).uniform_(-width, width))
    fill_buffers(backbone, None, "cpu")
    folder = tmp_path_factory.mktemp(name)
    save_file(backbone.vit.state_dict(), folder / "timm.safetensors")
    torch.save(metas_form(backbone, backbone.rope_periods.clone()), folder / "meta.pth")
    save_file(transformers_form(backbone), folder / "transformers.safetensors")
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        yield name, backbone, folder, x, backbone(x)
    shutil.rmtree(folder)


def loaded(file, backbone: Backbone) -> Backbone:
    with torch.device("meta"):
        empty = Backbone(backbone.config, backbone.taps).eval()
    load_backbone(empty, BackboneWeights(file))
    return empty


@pytest.mark.parametrize("file", ["timm.safetensors", "meta.pth", "transformers.safetensors"])
def test_all_forms_give_the_same_numbers(public, file):
    _, backbone, folder, x, expected = public
    again = loaded(folder / file, backbone)
    with torch.inference_mode():
        for ours, theirs in zip(again(x), expected, strict=True):
            assert (ours - theirs).abs().max() <= 1e-6
    assert again.loaded_sha256 == BackboneWeights(folder / "timm.safetensors").sha256()


def test_rounded_periods_are_kept(public):
    _, backbone, folder, x, expected = public
    state = torch.load(folder / "meta.pth", mmap=True)
    torch.save(state | {"rope_embed.periods": backbone.rope_periods.bfloat16()}, folder / "rounded.pth")
    again, exact = loaded(folder / "rounded.pth", backbone), backbone.rope_periods
    assert torch.equal(again.rope_periods, exact.bfloat16().float()) and not torch.equal(again.rope_periods, exact)
    with torch.inference_mode():
        answer = again(x)
        backbone.rope_periods = again.rope_periods
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(answer, backbone(x), strict=True))
        backbone.rope_periods = exact
        assert not torch.equal(answer[-1], expected[-1])


def test_metas_names_are_read_as_timm_itself_reads_them(public):
    _, backbone, folder, _, _ = public
    state = metas_form(backbone, backbone.rope_periods)
    theirs = checkpoint_filter_fn(dict(state), backbone.vit)
    ours = dict(BackboneWeights(folder / "meta.pth").tensors())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_the_variant_is_told_by_the_sizes(public):
    name, _, folder, _, _ = public
    weights = BackboneWeights(folder / "meta.pth")
    if name in SHALLOW:
        assert weights.problems(VARIANTS[name].vit)
    else:
        assert weights.variant() == name


def test_timms_own_model_agrees(public):
    name, backbone, _, x, expected = public
    options = {"depth": backbone.config.depth} if name in SHALLOW else {}
    theirs = timm.create_model(VARIANTS[name].timm_model, dynamic_img_size=True, num_classes=0, **options).eval()
    theirs.load_state_dict(backbone.vit.state_dict(), assign=True)
    with torch.inference_mode():
        maps = theirs.forward_intermediates(x, indices=list(backbone.taps), norm=True, intermediates_only=True)
    assert all((ours - other).abs().max() <= 1e-6 for ours, other in zip(expected, maps, strict=True))


def test_transformers_own_model_agrees(public):
    transformers = pytest.importorskip("transformers")
    _, backbone, folder, x, expected = public
    config = backbone.config
    sizes = transformers.DINOv3ViTConfig(
        hidden_size=config.dim,
        num_hidden_layers=config.depth,
        num_attention_heads=config.heads,
        intermediate_size=backbone.vit.blocks[0].mlp.fc2.in_features,
        use_gated_mlp=config.swiglu_align is not None,
        hidden_act="silu" if config.swiglu_align else "gelu",
        query_bias=config.qkv_bias,
        value_bias=config.qkv_bias,
        num_register_tokens=4,
    )
    released = folder / "released"  # a folder as on the hub
    released.mkdir()
    sizes.save_pretrained(released)
    (folder / "transformers.safetensors").rename(released / "model.safetensors")
    theirs = transformers.DINOv3ViTModel.from_pretrained(released, dtype=torch.float32).eval()
    with torch.inference_mode():
        tokens = theirs(x).last_hidden_state[:, 5:]  # after the class and register tokens
    assert (expected[-1].flatten(2).transpose(1, 2) - tokens).abs().max() <= 1e-4


def test_the_whole_7b_has_its_number_of_parameters():
    with torch.device("meta"):
        backbone = Backbone(VARIANTS["7b"].vit, VARIANTS["7b"].taps)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 6_716_030_976
