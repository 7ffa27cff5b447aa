"""The network against numbers computed by the authors' code (../shared/fixtures)."""

import json
import sys

import numpy as np
import pytest
import torch
from official_files import official_state

from DinoUNetCore.errors import UserError
from DinoUNetCore.network.backbone import Backbone
from DinoUNetCore.network.dino_unet import DinoUNet
from DinoUNetCore.network.variants import VARIANTS
from DinoUNetCore.weights.backbone_weights import BackboneWeights
from DinoUNetCore.weights.dinov3 import load_backbone
from DinoUNetCore.weights.official import load_official_state_dict

TINY_TAPS = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def rules(shared):
    sys.path.insert(0, str(shared / "fixtures"))
    try:
        import rules
    finally:
        sys.path.pop(0)
    return rules


@pytest.fixture(scope="module")
def state(shared, rules):
    return {k: torch.from_numpy(v) for k, v in rules.state_from(shared / "fixtures" / "tiny_state.json").items()}


@pytest.fixture(scope="module")
def network(state):
    return load_official_state_dict(state, taps=TINY_TAPS)


@pytest.fixture(scope="module")
def reference(shared):
    return np.load(shared / "fixtures" / "tiny.npz")


def record(network, x):
    """Run the network and return every intermediate under the fixtures' names."""
    seen = {}

    def keep(name):
        return lambda module, inputs, output: seen.__setitem__(name, output)

    adapter = network.adapter
    modules = {"vit": network.backbone, "spm": adapter.spm, "adapter": adapter, "fapm": network.fapm}
    modules |= {f"interaction_{i}": adapter.interactions[i] for i in (0, 3)}
    hooks = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    hooks += [network.decoder.register_forward_pre_hook(lambda m, inputs: seen.__setitem__("skips", inputs[0]))]
    with torch.no_grad():
        seen["output"] = network(x)
        tokens = network.backbone.vit.forward_intermediates(
            x.repeat(1, 3, 1, 1), indices=list(TINY_TAPS), norm=True, return_prefix_tokens=True, intermediates_only=True
        )
    for hook in hooks:
        hook.remove()
    result = {"output": seen["output"], "interaction_0": seen["interaction_0"], "interaction_3": seen["interaction_3"]}
    for i in range(4):
        result[f"vit_patch_{i}"] = seen["vit"][i]
        result[f"vit_cls_{i}"] = tokens[i][1][:, 0]
        result[f"adapter_{i + 1}"] = seen["adapter"][i]
        result[f"fapm_{i}"] = seen["fapm"][i]
        result[f"skip_{i}"] = seen["skips"][i]
        result[f"spm_c{i + 1}"] = seen["spm"][i]
    return {name: tensor.numpy() for name, tensor in result.items()}


def matched(ours, theirs):
    """Bring maps and token sequences (B, h*w, dim) to the reference's layout."""
    if ours.shape != theirs.shape and ours.ndim == 4 and theirs.ndim == 3:
        ours = ours.reshape(*ours.shape[:2], -1).transpose(0, 2, 1)
    return ours.reshape(theirs.shape) if ours.size == theirs.size else ours


def test_every_intermediate_equals_the_authors(network, reference):
    ours = record(network, torch.from_numpy(reference["input"]))
    names = [name for name in reference.files if name != "input"]
    assert len(names) > 20
    assert set(names) <= set(ours)
    for name in names:
        tolerance = 1e-5 if name.startswith("vit_") else 1e-4
        np.testing.assert_allclose(
            matched(ours[name], reference[name]), reference[name], rtol=0, atol=tolerance, err_msg=name
        )


@pytest.fixture
def two_threads():
    """As the reference was computed: another number sums in another order, which flips a LeakyReLU 1e-7 from zero."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_gradient_norms_equal_the_authors(state, shared, rules, reference, two_threads):
    network = load_official_state_dict(state, taps=TINY_TAPS)
    output = network(torch.from_numpy(reference["input"]))
    weights = torch.from_numpy(rules.normal("grad:tiny", tuple(output.shape)).astype(np.float32))
    (output * weights).sum().backward()
    expected = json.loads((shared / "fixtures" / "tiny_grads.json").read_text(encoding="utf-8"))["grad_norm"]
    ours = {name: p.grad.norm().item() for name, p in network.named_parameters() if p.grad is not None}
    checked = 0
    for name, norm in expected.items():
        name = name.replace("encoder.dinov3_adapter.", "adapter.").replace("encoder.", "").replace(".up2.", ".")
        if norm > 1e-2:  # conv biases before an InstanceNorm cancel: their norm is rounding noise
            assert ours[name] == pytest.approx(norm, rel=1e-3), name
            checked += 1
    assert checked > 100
    assert not any(name.startswith("backbone.") for name in ours)


def test_one_and_two_channels_are_repeated_as_the_authors_do(network, reference):
    one = torch.from_numpy(reference["input"])
    two = torch.cat([one, one.flip(3)], dim=1)
    with torch.no_grad():
        assert torch.equal(network(one), network(one.repeat(1, 3, 1, 1)))
        assert torch.equal(network(two), network(two[:, [0, 1, 0]]))
        assert not torch.equal(network(two), network(two[:, [1, 0, 1]]))
        with pytest.raises(ValueError, match="expected"):
            network(one.repeat(1, 4, 1, 1))


def test_what_outputs_cannot_show_is_as_the_authors_have_it(network):
    vit_norms = [m for m in network.backbone.modules() if isinstance(m, torch.nn.LayerNorm)]
    adapter_norms = [m for m in network.adapter.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert vit_norms and {m.eps for m in vit_norms} == {1e-5}
    assert adapter_norms and {m.eps for m in adapter_norms} == {1e-6}
    convs = [m for m in (*network.fapm.modules(), *network.decoder.modules()) if isinstance(m, torch.nn.Conv2d)]
    assert all(conv.bias is not None for conv in convs)


def test_unread_heads_and_biases_are_loaded_too(network, state):
    for i in range(3):
        torch.testing.assert_close(network.decoder.seg_layers[i].weight, state[f"decoder.seg_layers.{i}.weight"])
    bias = network.decoder.stages[0].convs[0].conv.bias
    torch.testing.assert_close(bias, state["decoder.stages.0.convs.0.conv.bias"])


@pytest.mark.parametrize(
    ("name", "trainable", "frozen"), [("small", 6_194_948, 21_601_152), ("base", 13_182_020, 85_669_632)]
)
def test_a_state_of_full_size_is_loaded_whole(rules, name, trainable, frozen):
    with torch.device("meta"):
        sizes = official_state(DinoUNet(name, 1, 2))
    own = {key: tensor.shape for key, tensor in sizes.items() if not key.startswith("decoder.encoder.")}
    state = {
        key: torch.from_numpy(rules.make(key, shape, "float32", rules.rule_for(key, shape)))
        for key, shape in own.items()
    }
    theirs = [key for key in state if ".backbone." in key and not key.endswith(("bias_mask", "periods"))]
    assert sum(state[key].numel() for key in theirs) == frozen

    network = load_official_state_dict(state)
    assert network.variant.timm_model == VARIANTS[name].timm_model
    assert network.variant.taps == VARIANTS[name].taps
    backbone = sum(parameter.numel() for parameter in network.backbone.parameters())
    assert sum(parameter.numel() for parameter in network.parameters()) - backbone == trainable
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())
    assert torch.equal(network.fapm.shared_basis.weight, state["encoder.fapm.shared_basis.weight"])
    bias = state["encoder.dinov3_adapter.backbone.blocks.11.attn.qkv.bias"]
    assert torch.equal(network.backbone.vit.blocks[11].attn.v_bias, bias.chunk(3)[2])
    with torch.inference_mode():
        output = network(torch.from_numpy(rules.make_input(name, (1, 1, 64, 96))))
    assert output.shape == (1, 2, 64, 96)
    assert output.isfinite().all() and output.std() > 0.1


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_names_of_wrapped_networks_are_understood(state, network, prefix):
    wrapped = load_official_state_dict({prefix + name: tensor for name, tensor in state.items()}, taps=TINY_TAPS)
    ours = network.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in wrapped.state_dict().items())


def test_a_foreign_state_dict_is_refused_with_a_sentence(state):
    with pytest.raises(UserError, match="not one of Dino U-Net's authors"):
        load_official_state_dict({"conv.weight": torch.zeros(1)}, taps=TINY_TAPS)
    damaged = {name: t for name, t in state.items() if name != "encoder.fapm.shared_basis.bias"}
    with pytest.raises(UserError, match="shared_basis"):
        load_official_state_dict(damaged, taps=TINY_TAPS)
    misshapen = state | {"encoder.fapm.shared_basis.bias": torch.zeros(3)}
    with pytest.raises(UserError, match=r"fapm\.shared_basis\.bias is \(3,\) and should be \(256,\)"):
        load_official_state_dict(misshapen, taps=TINY_TAPS)
    with pytest.raises(UserError, match="taps"):
        load_official_state_dict(state)
    empty = state | {"encoder.dinov3_adapter.backbone.rope_embed.periods": torch.zeros(0)}
    with pytest.raises(UserError, match="not one of Dino U-Net's authors"):
        load_official_state_dict(empty, taps=TINY_TAPS)


@pytest.mark.parametrize("periods", ["periods", "periods_bf16"])
def test_vit_s_equals_metas(shared, rules, periods, tmp_path):
    raw = {k: torch.from_numpy(v) for k, v in rules.state_from(shared / "fixtures" / "vits_state.json").items()}
    reference = np.load(shared / "fixtures" / "vits.npz")
    variant = VARIANTS["small"]
    backbone = Backbone(variant.vit, variant.taps).eval()
    rounded = periods == "periods_bf16"
    raw["rope_embed.periods"] = torch.from_numpy(reference[periods])
    torch.save(raw, tmp_path / "dinov3_vits16.pth")
    load_backbone(backbone, BackboneWeights(tmp_path / "dinov3_vits16.pth"))
    x = torch.from_numpy(reference["input"])
    with torch.no_grad():
        outputs = backbone.vit.forward_intermediates(
            x, indices=list(variant.taps), norm=True, return_prefix_tokens=True, intermediates_only=True
        )
    for tap, (patches, prefix) in zip(variant.taps, outputs, strict=True):
        for name, ours in (("patch", patches), ("cls", prefix[:, 0]), ("storage", prefix[:, 1:])):
            key = f"{name}_{tap}" + ("_bf16periods" if rounded else "")
            if key in reference.files:
                theirs = reference[key]
                np.testing.assert_allclose(matched(ours.numpy(), theirs), theirs, rtol=0, atol=1e-5, err_msg=key)
